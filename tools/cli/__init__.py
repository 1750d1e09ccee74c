"""The command that creates the first admin key with AWS permissions; `proxyctl` does all others."""
