"""Starts the worker of bulk operations and erasures, which is the admin function."""

from __future__ import annotations

from functools import cache

from replicate_proxy.aws.bulk_marks import BulkMarks
from replicate_proxy.aws.clients import get_client
from replicate_proxy.aws.invocations import AsyncInvocation
from replicate_proxy.bootstrap.environment import clock, env
from replicate_proxy.settings import ADMIN_FUNCTION, REPLICATE_PROXY_TABLE

CONTINUE_BULK_OPERATIONS = "continue-bulk-operations"


@cache
def build_worker_starter() -> AsyncInvocation:
    return AsyncInvocation(get_client("lambda"), env[ADMIN_FUNCTION], {"task": CONTINUE_BULK_OPERATIONS})


def has_operations() -> bool:
    """Return whether a bulk operation runs, or may do so, or an erasure is due."""
    return BulkMarks(get_client("dynamodb"), env[REPLICATE_PROXY_TABLE]).has_work(clock.now())
