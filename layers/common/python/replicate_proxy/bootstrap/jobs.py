"""What every function that works on the jobs table is made of."""

from __future__ import annotations

import os
from functools import cache

from replicate_proxy.aws import client
from replicate_proxy.bootstrap.surroundings import clock, env
from replicate_proxy.jobs.policy import Policy
from replicate_proxy.services.keeper import JobKeeper
from replicate_proxy.storage.batches import DynamoBatchStore
from replicate_proxy.storage.jobs import DynamoJobStore

__all__ = ["batch_store", "keeper", "policy", "store"]


@cache
def policy() -> Policy:
    return Policy.from_env(os.environ)


@cache
def store() -> DynamoJobStore:
    return DynamoJobStore(client("dynamodb"), env.text("REPLICATE_PROXY_TABLE"))


@cache
def batch_store() -> DynamoBatchStore:
    return DynamoBatchStore(client("dynamodb"), env.text("REPLICATE_PROXY_TABLE"), store())


@cache
def keeper() -> JobKeeper:
    return JobKeeper(store(), clock, policy())
