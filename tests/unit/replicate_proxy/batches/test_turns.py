"""Turns of tenants."""

from __future__ import annotations

from replicate_proxy.batches.turns import list_turns


def test_each_tenant_has_one_item_in_a_turn() -> None:
    items = ["a/1", "a/2", "b/1", "a/3", "c/1", "c/2"]

    turns = list(list_turns(items, lambda item: item[0]))

    assert turns == [["a/1", "b/1", "c/1"], ["a/2", "c/2"], ["a/3"]]
    assert list(list_turns([], str)) == []
