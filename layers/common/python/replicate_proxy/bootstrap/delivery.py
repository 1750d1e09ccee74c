"""The settings, stores and queue that the functions of webhook delivery share.

`notify` stores deliveries and enqueues them, `deliver` attempts them, `sweep` enqueues those that are due,
and `endpoints` manages endpoints and redeliveries. Each of them has a composition root of its own.
"""

from __future__ import annotations

from functools import cache

from replicate_proxy.aws.clients import get_client
from replicate_proxy.aws.delivery_store import DynamoDeliveryStore
from replicate_proxy.aws.endpoint_store import DynamoEndpointStore, DynamoSigningSecretStore
from replicate_proxy.aws.queues import SqsDeliveryQueue
from replicate_proxy.aws.receiver_limit_store import DynamoReceiverLimitStore
from replicate_proxy.bootstrap.environment import checkpoint, clock, env
from replicate_proxy.net.addresses import AddressPolicy
from replicate_proxy.settings import DELIVERIES_TABLE, NOTIFY_QUEUE_URL, WEBHOOK_PORTS
from replicate_proxy.webhooks.delivery_sweep import DeliverySweep
from replicate_proxy.webhooks.retry_policy import DeliverySettings


@cache
def delivery_settings() -> DeliverySettings:
    return DeliverySettings.from_env(env)


@cache
def delivery_store() -> DynamoDeliveryStore:
    return DynamoDeliveryStore(
        get_client("dynamodb"), _table_name(), due_shards=delivery_settings().due_shards
    )


@cache
def endpoint_store() -> DynamoEndpointStore:
    return DynamoEndpointStore(get_client("dynamodb"), _table_name())


@cache
def signing_secret_store() -> DynamoSigningSecretStore:
    return DynamoSigningSecretStore(get_client("dynamodb"), _table_name())


@cache
def receiver_limit_store() -> DynamoReceiverLimitStore:
    return DynamoReceiverLimitStore(get_client("dynamodb"), _table_name(), delivery_settings())


@cache
def delivery_queue() -> SqsDeliveryQueue:
    return SqsDeliveryQueue(get_client("sqs"), env[NOTIFY_QUEUE_URL])


@cache
def delivery_sweep() -> DeliverySweep:
    return DeliverySweep(
        deliveries=delivery_store(),
        queue=delivery_queue(),
        clock=clock,
        settings=delivery_settings(),
        checkpoint=checkpoint,
    )


def webhook_address_policy() -> AddressPolicy:
    """Return which addresses webhooks may go to: https on `WEBHOOK_PORTS`, and loopback if local."""
    return AddressPolicy(
        allow_loopback=env.local_settings().allow_loopback,
        ports=frozenset(env[WEBHOOK_PORTS]),
    )


def _table_name() -> str:
    return env[DELIVERIES_TABLE]
