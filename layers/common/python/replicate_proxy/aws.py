"""The only place where AWS clients are made: short timeouts, bounded retries, one client a service and process."""

from __future__ import annotations

from functools import cache
from typing import Any

import boto3
from botocore.config import Config

__all__ = ["client"]

# A hop has seconds, not minutes: the queue behind it retries with more patience than the SDK should.
_CONFIG = Config(connect_timeout=2, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 3}, max_pool_connections=32)


@cache
def client(service: str) -> Any:
    """A low-level client, for instance `client("dynamodb")`. Typed Any: botocore makes its classes at run time."""
    return boto3.client(service, config=_CONFIG)
