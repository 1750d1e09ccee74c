"""Reads of jobs through DAX; imported only if there is a cluster."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import botocore.session
from botocore.config import Config

from replicate_proxy.aws.dax import DaxJobCache
from replicate_proxy.bootstrap.environment import clock, env
from replicate_proxy.bootstrap.job_stores import build_job_store
from replicate_proxy.services.query import CachedJobReader
from replicate_proxy.settings import DAX_MAX_STALENESS_MILLISECONDS, REPLICATE_PROXY_TABLE

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient


def build_cached_job_reader(endpoint: str) -> CachedJobReader:
    """Return a reader of jobs through the cluster with this discovery endpoint (`daxs://…`)."""
    cache = DaxJobCache(partial(_connect, endpoint), env[REPLICATE_PROXY_TABLE])
    max_staleness = timedelta(milliseconds=env[DAX_MAX_STALENESS_MILLISECONDS])
    return CachedJobReader(build_job_store(), cache, clock, max_staleness=max_staleness)


def _connect(endpoint: str) -> DynamoDBClient:
    # DaxJobCache connects on a thread of its own, so that no request waits for the import or the cluster.
    from amazondax import AmazonDaxClient  # noqa: PLC0415

    config = Config(connect_timeout=1, read_timeout=1, retries={"max_attempts": 0})
    client: DynamoDBClient = AmazonDaxClient(
        botocore.session.get_session(), endpoint_url=endpoint, config=config
    )
    return client
