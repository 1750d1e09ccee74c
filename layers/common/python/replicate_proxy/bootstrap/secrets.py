"""The one cache of secrets in a process."""

from __future__ import annotations

from functools import cache

from replicate_proxy.aws import client
from replicate_proxy.secrets import ParameterSecrets

__all__ = ["secrets"]


@cache
def secrets() -> ParameterSecrets:
    return ParameterSecrets(client("ssm"))
