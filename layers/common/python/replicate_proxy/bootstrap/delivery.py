"""What every function that works on deliveries is made of."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING

from replicate_proxy.aws.clients import get_client
from replicate_proxy.aws.delivery_store import DynamoOutbox
from replicate_proxy.aws.endpoint_store import DynamoEndpointStore, DynamoTenantSecrets
from replicate_proxy.aws.queues import SqsDeliveryQueue
from replicate_proxy.aws.receiver_limit_store import DynamoLanes
from replicate_proxy.bootstrap.environment import checkpoint, clock, env
from replicate_proxy.config import Env, read_local_settings
from replicate_proxy.net.addresses import AddressPolicy
from replicate_proxy.webhooks.due_deliveries import DueDeliveries
from replicate_proxy.webhooks.retry_policy import DeliverySettings

if TYPE_CHECKING:
    from collections.abc import Mapping


@cache
def settings() -> DeliverySettings:
    return DeliverySettings.from_env(os.environ)


@cache
def outbox() -> DynamoOutbox:
    return DynamoOutbox(get_client("dynamodb"), _table(), due_shards=settings().due_shards)


@cache
def endpoints() -> DynamoEndpointStore:
    return DynamoEndpointStore(get_client("dynamodb"), _table())


@cache
def tenant_secrets() -> DynamoTenantSecrets:
    return DynamoTenantSecrets(get_client("dynamodb"), _table())


@cache
def lanes() -> DynamoLanes:
    return DynamoLanes(get_client("dynamodb"), _table(), settings())


@cache
def queue() -> SqsDeliveryQueue:
    return SqsDeliveryQueue(get_client("sqs"), env.text("NOTIFY_QUEUE_URL"))


@cache
def due_deliveries() -> DueDeliveries:
    """The sweep's part: `run(now, until)` gives the number of deliveries handed to the queue."""
    return DueDeliveries(
        outbox=outbox(), queue=queue(), clock=clock, settings=settings(), checkpoint=checkpoint
    )


def webhook_policy(values: Mapping[str, str]) -> AddressPolicy:
    """Which addresses are called: https on `WEBHOOK_PORTS`; on the local stack loopback too."""
    return AddressPolicy(
        allow_loopback=bool(read_local_settings(values).get("allow_loopback")),
        ports=frozenset(int(port) for port in Env(values).names("WEBHOOK_PORTS", "443")),
    )


def _table() -> str:
    return env.text("DELIVERIES_TABLE")
