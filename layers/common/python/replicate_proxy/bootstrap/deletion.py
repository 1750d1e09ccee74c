"""Builds what deletes jobs: for callers, operators and the sweep."""

from __future__ import annotations

from functools import cache

from replicate_proxy.aws.clients import get_client
from replicate_proxy.aws.deletion_store import DynamoDeletionStore
from replicate_proxy.bootstrap.environment import checkpoint, clock, env
from replicate_proxy.bootstrap.job_stores import build_batch_store
from replicate_proxy.deletion.deleter import JobDeleter
from replicate_proxy.settings import REPLICATE_PROXY_TABLE


@cache
def build_deletion_store() -> DynamoDeletionStore:
    return DynamoDeletionStore(get_client("dynamodb"), env[REPLICATE_PROXY_TABLE], build_batch_store())


@cache
def build_deleter() -> JobDeleter:
    return JobDeleter(build_deletion_store(), clock, checkpoint=checkpoint)
