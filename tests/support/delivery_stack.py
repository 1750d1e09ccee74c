"""The functions of webhook delivery on moto: their table, queue, bus, bucket and environment variables."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3
from moto import mock_aws

from tests.support.aws import (
    CONTROL_TABLE,
    DELIVERIES_TABLE,
    JOBS_TABLE,
    create_control_table,
    create_deliveries_table,
    create_jobs_table,
)
from tests.support.handlers import clear_caches

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest
    from types_boto3_sqs import SQSClient

_BUS = "bus"
_BUCKET = "images"


@dataclass
class DeliveryStack:
    """The mocked AWS account. A queue behind the bus receives all events."""

    sqs: SQSClient
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
        clear_caches()
        create_control_table()
        create_deliveries_table()
        create_jobs_table()
        boto3.client("s3").create_bucket(Bucket=_BUCKET)
        sqs = boto3.client("sqs")
        queue_url = sqs.create_queue(QueueName="notify")["QueueUrl"]
        events_queue_url = sqs.create_queue(QueueName="events")["QueueUrl"]
        events_queue = sqs.get_queue_attributes(QueueUrl=events_queue_url, AttributeNames=["QueueArn"])
        _create_bus(events_queue["Attributes"]["QueueArn"])
        environment = {
            "REPLICATE_PROXY_TABLE": JOBS_TABLE,
            "CONTROL_TABLE": CONTROL_TABLE,
            "DELIVERIES_TABLE": DELIVERIES_TABLE,
            "DISPATCH_QUEUE_URL": "https://sqs.test/dispatch",
            "BATCH_DISPATCH_QUEUE_URL": "https://sqs.test/dispatch",
            "IMAGES_BUCKET": _BUCKET,
            "EVENT_BUS": _BUS,
            "NOTIFY_QUEUE_URL": queue_url,
        }
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        yield DeliveryStack(sqs, queue_url, events_queue_url)
    clear_caches()


def _create_bus(events_queue_arn: str) -> None:
    events = boto3.client("events")
    events.create_event_bus(Name=_BUS)
    pattern = json.dumps({"source": ["replicate-proxy.jobs"]})
    events.put_rule(Name="all", EventBusName=_BUS, EventPattern=pattern)
    events.put_targets(Rule="all", EventBusName=_BUS, Targets=[{"Id": "1", "Arn": events_queue_arn}])
