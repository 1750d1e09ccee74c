"""What every function that works on jobs is made of."""

from __future__ import annotations

import os
from functools import cache

from replicate_proxy.aws import client
from replicate_proxy.config import Env
from replicate_proxy.jobs.policy import Policy
from replicate_proxy.local_clock import clock_of
from replicate_proxy.services.keeper import JobKeeper
from replicate_proxy.storage.documents import S3DocumentStore
from replicate_proxy.storage.jobs import DynamoJobStore

__all__ = ["clock", "documents", "env", "keeper", "policy", "store"]

env = Env(os.environ)
clock = clock_of(os.environ)


@cache
def policy() -> Policy:
    return Policy.from_env(os.environ)


@cache
def store() -> DynamoJobStore:
    return DynamoJobStore(client("dynamodb"), env.text("REPLICATE_PROXY_TABLE"))


@cache
def documents() -> S3DocumentStore:
    return S3DocumentStore(client("s3"), env.text("IMAGES_BUCKET"))


@cache
def keeper() -> JobKeeper:
    return JobKeeper(store(), clock, policy())
