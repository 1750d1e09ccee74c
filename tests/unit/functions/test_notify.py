"""The notify function on moto, from stream records to deliveries, queue messages and bus events."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from functions.notify import app
from tests.support.aws import DELIVERIES_TABLE
from tests.support.delivery_stack import DeliveryStack, run_delivery_stack
from tests.support.handlers import CONTEXT, load_event

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch) -> Iterator[DeliveryStack]:
    with run_delivery_stack(monkeypatch) as stack:
        yield stack


def test_job_becomes_deliveries_commands_and_bus_events(stack: DeliveryStack) -> None:
    assert app.lambda_handler(load_event("notify/full_job"), CONTEXT) == {"batchItemFailures": []}

    commands = [json.loads(body) for body in stack.receive_messages()]
    assert [(command["tenant"], command["target"]) for command in commands] == [("acme", "prediction")]
    statuses = [event["detail"]["data"]["status"] for event in stack.receive_bus_events()]
    assert sorted(statuses) == ["processing", "starting", "succeeded"]
    items: list[Any] = boto3.client("dynamodb").scan(TableName=DELIVERIES_TABLE)["Items"]
    kinds = sorted(item["sk"]["S"].split("#")[0] for item in items)
    assert kinds == ["DELIVERY", "DELIVERY", "EVENT", "EVENT"]


def test_records_of_other_items_are_ignored(stack: DeliveryStack) -> None:
    assert app.lambda_handler(load_event("notify/other_item"), CONTEXT) == {"batchItemFailures": []}
    assert stack.receive_messages() == []


def test_first_failed_record_is_returned(stack: DeliveryStack) -> None:
    boto3.client("dynamodb").delete_table(TableName=DELIVERIES_TABLE)
    event = load_event("notify/full_job")

    response = app.lambda_handler(event, CONTEXT)

    # The record of the queued job has no events, so the next one is the first that needs the table.
    sequence_number = event["Records"][1]["dynamodb"]["SequenceNumber"]
    assert response == {"batchItemFailures": [{"itemIdentifier": sequence_number}]}
