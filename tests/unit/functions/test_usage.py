"""The usage function on moto, from stream records to counters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import boto3
import pytest

from functions.usage import app
from replicate_proxy.aws.usage_store import DynamoUsageReports
from tests.support.aws import USAGE_TABLE
from tests.support.handlers import CONTEXT, aws_account, load_event

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _account(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with aws_account(monkeypatch):
        yield


def test_job_that_ends_is_counted_once() -> None:
    event = load_event("usage/job_succeeded")
    other = load_event("usage/other_item")
    event["Records"] = [*other["Records"], *event["Records"]]

    assert app.lambda_handler(event, CONTEXT) == {"batchItemFailures": []}
    assert app.lambda_handler(event, CONTEXT) == {"batchItemFailures": []}

    store = DynamoUsageReports(boto3.client("dynamodb"), USAGE_TABLE)
    (entry,) = store.list_entries("acme", "2026-01-01", "2026-12-31")
    assert entry.counts.jobs == 1


def test_first_record_that_fails_is_returned() -> None:
    boto3.client("dynamodb").delete_table(TableName=USAGE_TABLE)
    event = load_event("usage/job_succeeded")

    response = app.lambda_handler(event, CONTEXT)

    sequence_number = event["Records"][0]["dynamodb"]["SequenceNumber"]
    assert response == {"batchItemFailures": [{"itemIdentifier": sequence_number}]}
