"""Releases to AWS: deploy a commit, prove by real requests that it works, or go back to the last good one."""
