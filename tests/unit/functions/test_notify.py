from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from functions.notify import app
from tests.support.delivery_stack import DeliveryStack, delivery_stack, sample

if TYPE_CHECKING:
    from collections.abc import Iterator

# A call may have nothing to count.
pytestmark = pytest.mark.filterwarnings("ignore:No application metrics to publish")


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch) -> Iterator[DeliveryStack]:
    with delivery_stack(monkeypatch) as made:
        yield made


class Context:
    function_name = "notify"
    memory_limit_in_mb = 512
    invoked_function_arn = "arn:aws:lambda:us-east-1:000000000000:function:notify"
    aws_request_id = "1"


def call(event: Any) -> Any:
    return app.lambda_handler(event, Context())


def test_a_whole_job_becomes_deliveries_commands_and_bus_events(stack: DeliveryStack) -> None:
    assert call(sample("notify/whole-job.json")) == {"batchItemFailures": []}

    commands = [json.loads(body) for body in stack.messages()]
    assert [(command["tenant"], command["target"]) for command in commands] == [("acme", "prediction")]
    statuses = [event["detail"]["data"]["status"] for event in stack.bus_events()]
    assert sorted(statuses) == ["processing", "starting", "succeeded"]
    items = boto3.client("dynamodb", region_name="us-east-1").scan(TableName="deliveries")["Items"]
    kinds = sorted(item["sk"]["S"].split("#")[0] for item in items)
    assert kinds == ["DELIVERY", "DELIVERY", "EVENT", "EVENT"]


def test_other_records_are_passed_over(stack: DeliveryStack) -> None:
    assert call(sample("notify/not-a-job.json")) == {"batchItemFailures": []}
    assert stack.messages() == []


def test_the_first_record_that_fails_is_named(stack: DeliveryStack) -> None:
    boto3.client("dynamodb", region_name="us-east-1").delete_table(TableName="deliveries")
    event = sample("notify/whole-job.json")

    reply = call(event)

    # A queued job touches nothing; the start is the first that needs the table.
    number = event["Records"][1]["dynamodb"]["SequenceNumber"]
    assert reply == {"batchItemFailures": [{"itemIdentifier": number}]}
