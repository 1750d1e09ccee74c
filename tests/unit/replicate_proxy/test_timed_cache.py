"""Values that are fresh for a while, and kept while they are used."""

from __future__ import annotations

import pytest

from replicate_proxy.timed_cache import TimedCache


class Stopwatch:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def stopwatch() -> Stopwatch:
    return Stopwatch()


@pytest.fixture
def cache(stopwatch: Stopwatch) -> TimedCache[int]:
    return TimedCache(2, monotonic=stopwatch)


def test_value_is_fresh_for_its_time_and_found_afterwards(
    cache: TimedCache[int], stopwatch: Stopwatch
) -> None:
    cache.put("a", 0, fresh_seconds=3)
    assert cache.find_fresh("a") == cache.find("a") == 0

    stopwatch.now = 3
    assert (cache.find_fresh("a"), cache.find("a")) == (None, 0)

    cache.put("a", 1, fresh_seconds=3)
    assert cache.find_fresh("a") == 1


def test_value_that_was_not_used_for_longest_is_evicted(cache: TimedCache[int]) -> None:
    cache.put("a", 1, fresh_seconds=3)
    cache.put("b", 2, fresh_seconds=3)
    assert cache.find_fresh("a") == 1

    cache.put("c", 3, fresh_seconds=3)

    assert [cache.find(key) for key in "abc"] == [1, None, 3]
