"""proxyctl: the operators' command line of the Replicate Proxy, over its admin API.

It is installed on its own (`uv tool install .`), so it imports nothing of the service or of the other tools.
"""

__version__ = "0.1.0"
