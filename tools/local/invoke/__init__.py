"""`make invoke`: run a function with a sample event in AWS's runtime image, against the running stack.

The container of `sam local invoke` reaches the stack through relays: the servers of the stack have the same
addresses in the container as on this machine, so that every URL in a record or a response works there too.
"""
