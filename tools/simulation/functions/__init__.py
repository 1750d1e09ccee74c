"""The functions of the stack, composed of the real services and adapters over the in-memory AWS.

Each `build_…` function returns what one execution environment holds: its caches are its own, as in Lambda.
What is replaced: the files of outputs (no image is decoded) and the HTTP call to receivers.
"""
