"""Tenants that have their turns: what one of them has much of keeps no other waiting."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


def list_turns[T](items: Iterable[T], get_tenant: Callable[[T], str]) -> Iterator[list[T]]:
    """Yield the first item of each tenant, then the second ones, and so on, in the order of the items."""
    by_tenant: dict[str, list[T]] = {}
    for item in items:
        by_tenant.setdefault(get_tenant(item), []).append(item)
    for turn in zip_longest(*by_tenant.values()):
        yield [item for item in turn if item is not None]
