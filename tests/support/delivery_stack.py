"""The delivery functions on moto: the table as the template makes it, queue, bus, bucket, and the
environment.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from moto import mock_aws

from replicate_proxy.aws import clients
from replicate_proxy.bootstrap import deliver, delivery, endpoints, jobs, notify

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

REGION = "us-east-1"
EVENTS = Path(__file__).parents[2] / "events"
_INDEXES = (("by_due", "due_shard", "due_at"), ("by_target", "target_key", "at"))


@dataclass
class DeliveryStack:
    """The mocked AWS; `messages` takes what lies on the notify queue."""

    sqs: Any
    queue_url: str
    events_url: str

    def messages(self) -> list[str]:
        return self._take(self.queue_url)

    def bus_events(self) -> list[Any]:
        """What a rule on the bus put on a queue."""
        return [json.loads(body) for body in self._take(self.events_url)]

    def _take(self, url: str) -> list[str]:
        found: list[str] = []
        while batch := self.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
            for message in batch:
                found.append(message["Body"])
                self.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return found


@contextmanager
def delivery_stack(monkeypatch: pytest.MonkeyPatch) -> Iterator[DeliveryStack]:
    with mock_aws():
        _forget()
        make_table(boto3.client("dynamodb", region_name=REGION), "deliveries")
        boto3.client("s3", region_name=REGION).create_bucket(Bucket="images")
        sqs = boto3.client("sqs", region_name=REGION)
        queue_url = sqs.create_queue(QueueName="notify")["QueueUrl"]
        events_url = sqs.create_queue(QueueName="events")["QueueUrl"]
        _make_bus(sqs.get_queue_attributes(QueueUrl=events_url, AttributeNames=["QueueArn"]))
        environment = {
            "AWS_DEFAULT_REGION": REGION,
            "REPLICATE_PROXY_TABLE": "jobs",
            "DELIVERIES_TABLE": "deliveries",
            "IMAGES_BUCKET": "images",
            "EVENT_BUS": "bus",
            "NOTIFY_QUEUE_URL": queue_url,
        }
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        yield DeliveryStack(sqs, queue_url, events_url)
    _forget()


def make_table(dynamodb: Any, name: str) -> None:
    """The deliveries table."""
    attributes = ("pk", "sk", "due_shard", "due_at", "target_key", "at")
    dynamodb.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": each, "AttributeType": "S"} for each in attributes],
        KeySchema=_keys("pk", "sk"),
        GlobalSecondaryIndexes=[
            {
                "IndexName": index,
                "KeySchema": _keys(hash_key, range_key),
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }
            for index, hash_key, range_key in _INDEXES
        ],
    )


def sample(name: str) -> Any:
    """A sample event of `events/`, by path."""
    return json.loads((EVENTS / name).read_text())


def _keys(hash_key: str, range_key: str) -> list[Any]:
    return [
        {"AttributeName": hash_key, "KeyType": "HASH"},
        {"AttributeName": range_key, "KeyType": "RANGE"},
    ]


def _make_bus(queue: Any) -> None:
    events = boto3.client("events", region_name=REGION)
    events.create_event_bus(Name="bus")
    events.put_rule(
        Name="all", EventBusName="bus", EventPattern=json.dumps({"source": ["replicate-proxy.jobs"]})
    )
    arn = queue["Attributes"]["QueueArn"]
    events.put_targets(Rule="all", EventBusName="bus", Targets=[{"Id": "1", "Arn": arn}])


def _forget() -> None:
    """Builders and clients are made once a process; every test has an AWS of its own."""
    for module in (deliver, delivery, endpoints, jobs, notify):
        for value in vars(module).values():
            if hasattr(value, "cache_clear"):
                value.cache_clear()
    clients.get_client.cache_clear()
