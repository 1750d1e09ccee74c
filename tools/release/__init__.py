"""Releases to AWS: deploy a commit, validate it with real requests, and roll back if they fail."""
