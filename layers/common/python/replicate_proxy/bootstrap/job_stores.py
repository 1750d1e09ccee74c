"""The stores of the jobs table. Separate from `jobs`: functions that only read do not import the updater.

The stores that few requests need are imported in their builders.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from replicate_proxy.aws.clients import get_client
from replicate_proxy.aws.job_store import DynamoJobStore
from replicate_proxy.bootstrap.environment import env
from replicate_proxy.settings import REPLICATE_PROXY_TABLE

if TYPE_CHECKING:
    from replicate_proxy.aws.batch_store import DynamoBatchStore
    from replicate_proxy.aws.large_batch_store import DynamoLargeBatchStore
    from replicate_proxy.aws.line_store import DynamoLineStore


@cache
def build_job_store() -> DynamoJobStore:
    return DynamoJobStore(get_client("dynamodb"), env[REPLICATE_PROXY_TABLE])


@cache
def build_batch_store() -> DynamoBatchStore:
    from replicate_proxy.aws.batch_store import DynamoBatchStore  # noqa: PLC0415

    return DynamoBatchStore(get_client("dynamodb"), env[REPLICATE_PROXY_TABLE], build_job_store())


@cache
def build_large_batch_store() -> DynamoLargeBatchStore:
    from replicate_proxy.aws.large_batch_store import DynamoLargeBatchStore  # noqa: PLC0415

    return DynamoLargeBatchStore(get_client("dynamodb"), env[REPLICATE_PROXY_TABLE])


@cache
def build_line_store() -> DynamoLineStore:
    from replicate_proxy.aws.line_store import DynamoLineStore  # noqa: PLC0415

    return DynamoLineStore(get_client("dynamodb"), env[REPLICATE_PROXY_TABLE])
