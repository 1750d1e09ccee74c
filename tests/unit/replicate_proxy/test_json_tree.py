"""Walks through JSON values of any shape."""

from __future__ import annotations

import json
from typing import Any

import pytest

from replicate_proxy.json_tree import find_strings, is_deeper_than
from tests.support.memory import measure_peak_bytes


def find_all(value: Any) -> list[tuple[tuple[str | int, ...], str]]:
    return list(find_strings(value, lambda _: True))


def test_find_strings_returns_paths_in_document_order() -> None:
    value = {"a": "1", "b": [["2", 5, "3"], {}, {"c": {"d": "4"}}, "5"], "e": None, "f": "6"}

    assert find_all(value) == [
        (("a",), "1"),
        (("b", 0, 0), "2"),
        (("b", 0, 2), "3"),
        (("b", 2, "c", "d"), "4"),
        (("b", 3), "5"),
        (("f",), "6"),
    ]


def test_find_strings_returns_root_with_empty_path() -> None:
    assert find_all("x") == [((), "x")]


@pytest.mark.parametrize("value", [None, 1, [], {}, [[]], {"key": 1}])
def test_find_strings_returns_nothing_when_there_is_none(value: Any) -> None:
    assert find_all(value) == []


@pytest.mark.parametrize(
    ("value", "depth"),
    [(1, 1), ("x", 1), ([], 1), ({}, 1), ([1, [2]], 3), ({"a": [{"b": 1}], "c": 1}, 4), ([[], [], [[]]], 3)],
)
def test_depth_counts_levels_of_values(value: Any, depth: int) -> None:
    assert not is_deeper_than(value, depth)
    assert is_deeper_than(value, depth - 1)


def test_depth_of_value_that_exceeds_the_stack_is_found() -> None:
    value: Any = 1
    for _ in range(50_000):
        value = [value]

    assert is_deeper_than(value, 50_000)
    assert not is_deeper_than(value, 50_001)


@pytest.mark.parametrize(
    ("text", "max_bytes"),
    [
        ("[" + "[]," * 100_000 + "[]]", 10_000),
        # A walk keeps an iterator for each of the 5,000 levels.
        ("[" * 5000 + "[]," * 99_999 + "0" + "]" * 5000, 2_000_000),
    ],
    ids=["wide", "deep"],
)
def test_walks_take_little_memory(text: str, max_bytes: int) -> None:
    value = json.loads(text)

    assert measure_peak_bytes(lambda: is_deeper_than(value, 64)) < 10_000
    assert measure_peak_bytes(lambda: find_all(value)) < max_bytes
