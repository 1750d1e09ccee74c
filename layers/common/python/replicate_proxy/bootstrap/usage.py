"""The composition root of the usage function: the stream of the jobs table becomes usage."""

from __future__ import annotations

import time
from functools import cache

from replicate_proxy.aws.clients import get_client
from replicate_proxy.aws.job_stream import DynamoJobStream, job_change_from_stream_record
from replicate_proxy.aws.usage_store import DynamoUsageStore
from replicate_proxy.bootstrap.environment import clock, env
from replicate_proxy.settings import USAGE_TABLE
from replicate_proxy.usage.counter import UsageCounter
from replicate_proxy.webhooks.stream_replay import StreamReplayer

# Of the 10 s that the admin function waits for a response (aws/clients.py); the rest is for counting.
_MAX_REPLAY_SECONDS = 5

__all__ = ["build_usage_counter", "build_usage_replayer", "job_change_from_stream_record"]


@cache
def build_usage_counter() -> UsageCounter:
    return UsageCounter(DynamoUsageStore(get_client("dynamodb"), env[USAGE_TABLE]), clock, time.sleep)


@cache
def build_usage_replayer() -> StreamReplayer:
    stream = DynamoJobStream(
        get_client("dynamodbstreams"), clock=clock, sleep=time.sleep, max_seconds=_MAX_REPLAY_SECONDS
    )
    return StreamReplayer(stream, build_usage_counter().count)
