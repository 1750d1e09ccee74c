"""The functions of webhook delivery on moto: their table, queue, bus, bucket and environment variables."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3
from moto import mock_aws

from replicate_proxy.aws import clients
from replicate_proxy.bootstrap import deliver, delivery, endpoints, jobs, notify

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

REGION = "us-east-1"
DELIVERIES_TABLE = "deliveries"
_BUS = "bus"
_BUCKET = "images"
_STRING_ATTRIBUTES = ("pk", "sk", "due_shard", "due_at", "target_key", "at")
_INDEXES = (("by_due", "due_shard", "due_at"), ("by_target", "target_key", "at"))


@dataclass
class DeliveryStack:
    """The mocked AWS account. A queue behind the bus receives all events."""

    sqs: Any
    queue_url: str
    events_queue_url: str

    def receive_messages(self) -> list[str]:
        """Return and delete the messages of the notify queue that are visible now."""
        return self._receive_all(self.queue_url)

    def receive_bus_events(self) -> list[Any]:
        """Return and delete the events published on the bus."""
        return [json.loads(body) for body in self._receive_all(self.events_queue_url)]

    def _receive_all(self, url: str) -> list[str]:
        bodies: list[str] = []
        while batch := self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
            for message in batch:
                bodies.append(message["Body"])
                self.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return bodies


@contextmanager
def run_delivery_stack(monkeypatch: pytest.MonkeyPatch) -> Iterator[DeliveryStack]:
    with mock_aws():
        _clear_caches()
        create_deliveries_table(boto3.client("dynamodb", region_name=REGION), DELIVERIES_TABLE)
        boto3.client("s3", region_name=REGION).create_bucket(Bucket=_BUCKET)
        sqs = boto3.client("sqs", region_name=REGION)
        queue_url = sqs.create_queue(QueueName="notify")["QueueUrl"]
        events_queue_url = sqs.create_queue(QueueName="events")["QueueUrl"]
        events_queue = sqs.get_queue_attributes(QueueUrl=events_queue_url, AttributeNames=["QueueArn"])
        _create_bus(events_queue["Attributes"]["QueueArn"])
        environment = {
            "AWS_DEFAULT_REGION": REGION,
            "REPLICATE_PROXY_TABLE": "jobs",
            "DELIVERIES_TABLE": DELIVERIES_TABLE,
            "IMAGES_BUCKET": _BUCKET,
            "EVENT_BUS": _BUS,
            "NOTIFY_QUEUE_URL": queue_url,
        }
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        yield DeliveryStack(sqs, queue_url, events_queue_url)
    _clear_caches()


def create_deliveries_table(dynamodb: Any, name: str) -> None:
    """Create the deliveries table with the keys and indexes of the template."""
    dynamodb.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[
            {"AttributeName": attribute, "AttributeType": "S"} for attribute in _STRING_ATTRIBUTES
        ],
        KeySchema=_key_schema("pk", "sk"),
        GlobalSecondaryIndexes=[
            {
                "IndexName": index,
                "KeySchema": _key_schema(hash_key, range_key),
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }
            for index, hash_key, range_key in _INDEXES
        ],
    )


def _key_schema(hash_key: str, range_key: str) -> list[Any]:
    return [
        {"AttributeName": hash_key, "KeyType": "HASH"},
        {"AttributeName": range_key, "KeyType": "RANGE"},
    ]


def _create_bus(events_queue_arn: str) -> None:
    events = boto3.client("events", region_name=REGION)
    events.create_event_bus(Name=_BUS)
    pattern = json.dumps({"source": ["replicate-proxy.jobs"]})
    events.put_rule(Name="all", EventBusName=_BUS, EventPattern=pattern)
    events.put_targets(Rule="all", EventBusName=_BUS, Targets=[{"Id": "1", "Arn": events_queue_arn}])


def _clear_caches() -> None:
    """Drop the objects and clients that the composition root caches: each test has an account of its own."""
    for module in (deliver, delivery, endpoints, jobs, notify):
        for value in vars(module).values():
            if hasattr(value, "cache_clear"):
                value.cache_clear()
    clients.get_client.cache_clear()
