"""The stores and the updater of jobs, shared by the functions that use the jobs table."""

from __future__ import annotations

from functools import cache

from replicate_proxy.aws.batch_store import DynamoBatchStore
from replicate_proxy.aws.clients import get_client
from replicate_proxy.aws.job_store import DynamoJobStore
from replicate_proxy.bootstrap.environment import clock, env
from replicate_proxy.jobs.timeouts import JobTimeouts
from replicate_proxy.jobs.updater import JobUpdater
from replicate_proxy.settings import REPLICATE_PROXY_TABLE


@cache
def build_job_timeouts() -> JobTimeouts:
    return JobTimeouts.from_env(env)


@cache
def build_job_store() -> DynamoJobStore:
    return DynamoJobStore(get_client("dynamodb"), env[REPLICATE_PROXY_TABLE])


@cache
def build_batch_store() -> DynamoBatchStore:
    return DynamoBatchStore(get_client("dynamodb"), env[REPLICATE_PROXY_TABLE], build_job_store())


@cache
def build_job_updater() -> JobUpdater:
    return JobUpdater(build_job_store(), clock, build_job_timeouts())
