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
from replicate_proxy.bootstrap.environment import env
from replicate_proxy.settings import DELIVERIES_TABLE, NOTIFY_QUEUE_URL
from replicate_proxy.webhooks.settings import DeliverySettings


@cache
def build_delivery_settings() -> DeliverySettings:
    return DeliverySettings.from_env(env)


@cache
def build_delivery_store() -> DynamoDeliveryStore:
    return DynamoDeliveryStore(
        get_client("dynamodb"), env[DELIVERIES_TABLE], due_shards=build_delivery_settings().due_shards
    )


@cache
def build_endpoint_store() -> DynamoEndpointStore:
    return DynamoEndpointStore(get_client("dynamodb"), env[DELIVERIES_TABLE])


@cache
def build_signing_secret_store() -> DynamoSigningSecretStore:
    return DynamoSigningSecretStore(get_client("dynamodb"), env[DELIVERIES_TABLE])


@cache
def build_receiver_limit_store() -> DynamoReceiverLimitStore:
    return DynamoReceiverLimitStore(get_client("dynamodb"), env[DELIVERIES_TABLE], build_delivery_settings())


@cache
def build_delivery_queue() -> SqsDeliveryQueue:
    return SqsDeliveryQueue(get_client("sqs"), env[NOTIFY_QUEUE_URL])
