"""The store of slots and lines. Separate from `concurrency`: query reads lines, and no more of it."""

from __future__ import annotations

from functools import cache

from replicate_proxy.aws.clients import get_client
from replicate_proxy.aws.slot_store import DynamoSlotStore
from replicate_proxy.bootstrap.environment import env
from replicate_proxy.settings import CONTROL_TABLE, REPLICATE_PROXY_TABLE


@cache
def build_slot_store() -> DynamoSlotStore:
    return DynamoSlotStore(
        get_client("dynamodb"), control_table=env[CONTROL_TABLE], jobs_table=env[REPLICATE_PROXY_TABLE]
    )
