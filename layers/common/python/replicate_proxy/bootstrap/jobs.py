"""What every function that works on the jobs table is made of."""

from __future__ import annotations

import os
from functools import cache

from replicate_proxy.aws.batch_store import DynamoBatchStore
from replicate_proxy.aws.clients import get_client
from replicate_proxy.aws.job_store import DynamoJobStore
from replicate_proxy.bootstrap.environment import clock, env
from replicate_proxy.jobs.timeouts import JobTimeouts
from replicate_proxy.jobs.updater import JobUpdater


@cache
def timeouts() -> JobTimeouts:
    return JobTimeouts.from_env(os.environ)


@cache
def store() -> DynamoJobStore:
    return DynamoJobStore(get_client("dynamodb"), env.text("REPLICATE_PROXY_TABLE"))


@cache
def batch_store() -> DynamoBatchStore:
    return DynamoBatchStore(get_client("dynamodb"), env.text("REPLICATE_PROXY_TABLE"), store())


@cache
def updater() -> JobUpdater:
    return JobUpdater(store(), clock, timeouts())
