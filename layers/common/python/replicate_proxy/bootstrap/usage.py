"""The composition root of the usage function: the stream of the jobs table becomes usage."""

from __future__ import annotations

import time
from functools import cache

from replicate_proxy.aws.clients import get_client
from replicate_proxy.aws.usage_store import DynamoUsageStore
from replicate_proxy.bootstrap.environment import clock, env
from replicate_proxy.settings import USAGE_TABLE
from replicate_proxy.usage.counter import UsageCounter


@cache
def build_usage_counter() -> UsageCounter:
    return UsageCounter(DynamoUsageStore(get_client("dynamodb"), env[USAGE_TABLE]), clock, time.sleep)
