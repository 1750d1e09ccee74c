"""The one cache of secrets in a process."""

from __future__ import annotations

from functools import cache

from replicate_proxy.aws import client
from replicate_proxy.secrets import AwsSecrets

__all__ = ["secrets"]


@cache
def secrets() -> AwsSecrets:
    return AwsSecrets(client)
