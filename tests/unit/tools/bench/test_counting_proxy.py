"""The units of DynamoDB requests, as its pricing page counts them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tools.bench.counting_proxy import RequestCounts

SMALL = {"pk": {"S": "a"}}
LARGE = {"pk": {"S": "b" * 5_000}}


def count(operation: str, request: Any, response: Any) -> RequestCounts:
    counts = RequestCounts()
    counts.add_request("dynamodb", operation, json.dumps(request).encode(), json.dumps(response).encode())
    return counts


@pytest.mark.parametrize(("is_consistent", "units"), [(False, 2.0), (True, 4.0)])
def test_batch_read_rounds_up_each_item_and_counts_missing_ones(is_consistent: bool, units: float) -> None:
    read = {"Keys": [{}, {}, {}], "ConsistentRead": is_consistent}

    counts = count("BatchGetItem", {"RequestItems": {"t": read}}, {"Responses": {"t": [SMALL, LARGE]}})

    assert (counts.read_units, counts.write_units) == (units, 0)
    assert counts.requests == {"dynamodb BatchGetItem": 1}


def test_query_is_rounded_up_as_a_whole() -> None:
    assert count("Query", {}, {"Items": [SMALL, LARGE]}).read_units == 1.0


def test_write_counts_its_item() -> None:
    assert count("PutItem", {"TableName": "t", "Item": LARGE}, {}).write_units == 5


def test_several_writes_are_counted_one_by_one_and_twice_in_a_transaction() -> None:
    puts = [{"PutRequest": {"Item": LARGE}}, {"DeleteRequest": {"Key": SMALL}}]
    items = [{"Put": {"TableName": "t", "Item": LARGE}}, {"Delete": {"TableName": "t", "Key": SMALL}}]

    assert count("BatchWriteItem", {"RequestItems": {"t": puts}}, {}).write_units == 6
    assert count("TransactWriteItems", {"TransactItems": items}, {}).write_units == 12


def test_waits_that_overlap_count_once() -> None:
    counts = RequestCounts()
    for started_at, ended_at in ((3.0, 4.0), (1.0, 2.5), (1.5, 2.0), (2.0, 3.0), (6.0, 7.0)):
        counts.add_wait(started_at, ended_at)

    assert counts.sum_waits() == 4.0
    counts.clear()
    assert counts.sum_waits() == 0.0
