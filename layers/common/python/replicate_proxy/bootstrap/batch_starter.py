"""Starts the worker of large batches, which is a function of its own."""

from __future__ import annotations

from functools import cache

from replicate_proxy.aws.clients import get_client
from replicate_proxy.aws.invocations import AsyncInvocation
from replicate_proxy.bootstrap.environment import env
from replicate_proxy.settings import BATCH_FUNCTION


@cache
def build_batch_starter() -> AsyncInvocation | None:
    """Return None where the function cannot be invoked: the sweep starts it within a minute."""
    name = env[BATCH_FUNCTION]
    return AsyncInvocation(get_client("lambda"), name, {"task": "work"}) if name else None
