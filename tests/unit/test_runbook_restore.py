"""The commands in the runbook that copy the records of a restored table."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import boto3
import pytest
from moto import mock_aws

from tests.support.runbook import list_entries

if TYPE_CHECKING:
    from collections.abc import Iterator

    from types_boto3_dynamodb import DynamoDBClient

ENTRY = list_entries()["Records of a table are lost"]
ROWS = [
    ("JOB", "succeeded"),
    ("JOB", "canceled"),
    ("JOB", "queued"),
    ("JOB", "deleted"),
    ("BATCH", "succeeded"),
]


@pytest.fixture
def client() -> Iterator[DynamoDBClient]:
    """Two tables: the restored one has all rows, the other one has the first row with another name."""
    with mock_aws():
        client = boto3.client("dynamodb")
        for table in ("restored", "present"):
            client.create_table(
                TableName=table,
                KeySchema=[
                    {"AttributeName": "pk", "KeyType": "HASH"},
                    {"AttributeName": "sk", "KeyType": "RANGE"},
                ],
                AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
                BillingMode="PAY_PER_REQUEST",
            )
        for number, (sk, status) in enumerate(ROWS):
            key = {"pk": {"S": str(number)}, "sk": {"S": sk}}
            client.put_item(TableName="restored", Item={**key, "status": {"S": status}})
        client.put_item(TableName="restored", Item={"pk": {"S": "key"}, "sk": {"S": "KEY"}})
        client.put_item(
            TableName="present", Item={"pk": {"S": "0"}, "sk": {"S": "JOB"}, "status": {"S": "newer"}}
        )
        yield client


def run_copy(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    """Run the script of the entry with these arguments."""
    (script,) = re.findall(r"<<'END'\n(.*?)^END$", ENTRY, re.MULTILINE | re.DOTALL)
    monkeypatch.setattr(sys, "argv", ["-", *arguments])
    exec(compile(script, "docs/operations.md", "exec"), {})  # noqa: S102 - the text is our own page


def read_statuses(client: DynamoDBClient) -> dict[str, str]:
    items = client.scan(TableName="present")["Items"]
    return {item["pk"]["S"]: item.get("status", {"S": ""})["S"] for item in items}


def test_copy_adds_missing_records_and_keeps_newer_ones(
    client: DynamoDBClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_copy(monkeypatch, "restored", "present")

    assert read_statuses(client) == {
        "0": "newer",
        "1": "canceled",
        "2": "queued",
        "3": "deleted",
        "4": "succeeded",
        "key": "",
    }


def test_copy_of_jobs_leaves_out_all_but_ended_predictions(
    client: DynamoDBClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sweep would send an unfinished one once more."""
    statuses = ("succeeded", "failed", "canceled")
    assert f"`{' '.join(statuses)}`" in ENTRY

    run_copy(monkeypatch, "restored", "present", *statuses)

    assert read_statuses(client) == {"0": "newer", "1": "canceled"}


def test_restore_is_awaited_for_longer_than_one_waiter() -> None:
    """A restore takes at least 20 minutes (AWS re:Post, "Why is my DynamoDB restore taking a long time?").

    The waiter gives up after 25 checks, 20 seconds apart (AWS CLI, `dynamodb wait table-exists`).
    """
    assert re.search(r"^until aws dynamodb wait table-exists --table-name restored; do ", ENTRY, re.MULTILINE)
