"""The write units of items and of their entries in indexes."""

from __future__ import annotations

from typing import Any

import pytest

from tools.bench.dynamodb_units import Index, Table, WriteMeter, calculate_item_bytes

BY_DUE = Index(("shard", "due"), frozenset({"shard", "due", "pk", "status"}))
BY_TENANT = Index(("tenant",), frozenset({"tenant", "pk"}))


def make_item(**attributes: str) -> dict[str, Any]:
    return {name: {"S": value} for name, value in {"pk": "job1", **attributes}.items()}


@pytest.fixture
def meter() -> WriteMeter:
    return WriteMeter({"jobs": Table(("pk",), (BY_DUE, BY_TENANT))})


@pytest.mark.parametrize(
    ("item", "size"),
    [
        ({"pk": {"S": "häh"}}, 2 + 4),
        ({"n": {"N": "-12345"}}, 1 + 3 + 1),
        ({"b": {"BOOL": True}, "x": {"NULL": True}}, 2 + 2),
        ({"l": {"L": [{"S": "ab"}, {"N": "1"}]}}, 1 + 3 + 1 + 2 + 1 + 2),
        ({"m": {"M": {"key": {"S": "ab"}}}}, 1 + 3 + 1 + 3 + 2),
        ({"s": {"SS": ["ab", "c"]}}, 1 + 3),
        ({"raw": {"B": "AAAA"}}, 3 + 3),
    ],
)
def test_item_has_the_size_that_dynamodb_charges(item: dict[str, Any], size: int) -> None:
    assert calculate_item_bytes(item) == size


def test_new_item_is_written_to_each_index_that_has_its_keys(meter: WriteMeter) -> None:
    assert meter.count_put("jobs", make_item(shard="1", due="5", tenant="acme")) == 3
    assert meter.count_put("jobs", make_item(pk="job2", shard="1")) == 1


def test_entry_that_moves_is_deleted_and_written(meter: WriteMeter) -> None:
    meter.count_put("jobs", make_item(shard="1", due="5", tenant="acme"))

    assert meter.count_put("jobs", make_item(shard="1", due="6", tenant="acme")) == 3


def test_entry_that_keeps_its_key_is_written_once(meter: WriteMeter) -> None:
    meter.count_put("jobs", make_item(shard="1", due="5", status="queued"))

    assert meter.count_put("jobs", make_item(shard="1", due="5", status="submitted")) == 2
    assert meter.count_put("jobs", make_item(shard="1", due="5", status="submitted", output="x")) == 1


def test_entry_that_leaves_the_index_is_deleted(meter: WriteMeter) -> None:
    meter.count_put("jobs", make_item(shard="1", due="5", tenant="acme"))

    assert meter.count_put("jobs", make_item(tenant="acme")) == 2
    assert meter.count_delete("jobs", make_item()) == 2
    assert meter.count_delete("jobs", make_item()) == 1


def test_smaller_item_costs_as_much_as_what_it_replaces(meter: WriteMeter) -> None:
    assert meter.count_put("jobs", make_item(output="x" * 3000)) == 3
    assert meter.count_put("jobs", make_item()) == 3
    assert meter.count_put("jobs", make_item()) == 1
