"""Walks through JSON values that outside parties send. No I/O.

The walks are not recursive, as deep nesting must not exhaust the stack. They hold one iterator for each level
and no path for each value: with a path for each, a body of 200 kB took more than a gigabyte.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


type JsonPath = tuple[str | int, ...]
"""Keys and indexes from the root to a value; the root itself is ()."""


def find_strings(value: Any, matches: Callable[[str], bool]) -> Iterator[tuple[JsonPath, str]]:
    """Yield path and text of the strings that match, in document order; keys of objects do not count."""
    if isinstance(value, str):
        if matches(value):
            yield (), value
        return
    path: list[str | int] = []
    levels = [_iterate_entries(value)]
    while levels:
        entry = next(levels[-1], None)
        if entry is None:
            levels.pop()
            if path:
                path.pop()
            continue
        step, child = entry
        if isinstance(child, str):
            if matches(child):
                yield (*path, step), child
        elif isinstance(child, dict | list):
            path.append(step)
            levels.append(_iterate_entries(child))


def is_deeper_than(value: Any, max_depth: int) -> bool:
    """Return whether the value has more than `max_depth` levels; a value that holds no other has one."""
    levels = [iter([value])]
    while levels:
        for child in levels[-1]:
            if len(levels) > max_depth:
                return True
            if isinstance(child, dict | list):
                levels.append(iter(child.values()) if isinstance(child, dict) else iter(child))
                break
        else:
            levels.pop()
    return False


def _iterate_entries(value: Any) -> Iterator[tuple[str | int, Any]]:
    if isinstance(value, dict):
        return iter(value.items())
    return enumerate(value) if isinstance(value, list) else iter(())
