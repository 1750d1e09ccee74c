"""The local stack: the service deployed to an emulated AWS, with a local Replicate as its upstream.

README.md lists the modules.
"""
