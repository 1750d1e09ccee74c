"""What every function that works on deliveries is made of."""

from __future__ import annotations

import os
from functools import cache

from replicate_proxy.aws import client
from replicate_proxy.bootstrap.jobs import clock, env
from replicate_proxy.notifications.due import DueDeliveries
from replicate_proxy.notifications.endpoint_store import DynamoEndpointStore, DynamoTenantSecrets
from replicate_proxy.notifications.lanes import DynamoLanes
from replicate_proxy.notifications.outbox import DynamoOutbox
from replicate_proxy.notifications.queue import SqsDeliveryQueue
from replicate_proxy.notifications.settings import DeliverySettings

__all__ = ["due_deliveries", "endpoints", "lanes", "outbox", "queue", "settings", "tenant_secrets"]


@cache
def settings() -> DeliverySettings:
    return DeliverySettings.from_env(os.environ)


@cache
def outbox() -> DynamoOutbox:
    return DynamoOutbox(client("dynamodb"), _table(), due_shards=settings().due_shards)


@cache
def endpoints() -> DynamoEndpointStore:
    return DynamoEndpointStore(client("dynamodb"), _table())


@cache
def tenant_secrets() -> DynamoTenantSecrets:
    return DynamoTenantSecrets(client("dynamodb"), _table())


@cache
def lanes() -> DynamoLanes:
    return DynamoLanes(client("dynamodb"), _table(), settings())


@cache
def queue() -> SqsDeliveryQueue:
    return SqsDeliveryQueue(client("sqs"), env.text("NOTIFY_QUEUE_URL"))


@cache
def due_deliveries() -> DueDeliveries:
    """The sweep's part: `run(now, until)` gives the number of deliveries handed to the queue."""
    return DueDeliveries(outbox=outbox(), queue=queue(), clock=clock, settings=settings())


def _table() -> str:
    return env.text("DELIVERIES_TABLE")
