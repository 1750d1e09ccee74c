"""Starts the worker of bulk operations, which is the admin function."""

from __future__ import annotations

from functools import cache

from replicate_proxy.aws.bulk_marks import BulkMarks
from replicate_proxy.aws.clients import get_client
from replicate_proxy.aws.invocations import AsyncInvocation
from replicate_proxy.bootstrap.environment import env
from replicate_proxy.operations.bulk.continuation import BulkContinuation
from replicate_proxy.settings import ADMIN_FUNCTION, REPLICATE_PROXY_TABLE

CONTINUE_BULK_OPERATIONS = "continue-bulk-operations"


@cache
def build_worker_starter() -> AsyncInvocation:
    return AsyncInvocation(get_client("lambda"), env[ADMIN_FUNCTION], {"task": CONTINUE_BULK_OPERATIONS})


@cache
def build_bulk_continuation() -> BulkContinuation:
    marks = BulkMarks(get_client("dynamodb"), env[REPLICATE_PROXY_TABLE])
    return BulkContinuation(marks, build_worker_starter())
