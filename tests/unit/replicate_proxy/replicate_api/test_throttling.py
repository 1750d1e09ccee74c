from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_proxy.replicate_api.error_mapping import (
    MAX_RETRY_AFTER_SECONDS,
    parse_reduced_limit,
    parse_retry_delay,
)

NOW = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
SOON = format_datetime(NOW + timedelta(seconds=12), usegmt=True)
PAST = format_datetime(NOW - timedelta(hours=1), usegmt=True)


@pytest.mark.parametrize(
    ("body", "header", "expected"),
    [
        ({}, None, None),
        ({"retry_after": 5}, None, 5.0),
        ({"retry_after": "2.5"}, None, 2.5),
        ({"detail": "Request was throttled. Your rate limit resets in ~30s."}, None, 30.0),
        ({}, "7", 7.0),
        ({}, SOON, 12.0),
        ({}, PAST, 0.0),
        ({"retry_after": 5}, "9", 9.0),
        ({"retry_after": 9}, "5", 9.0),
        ({"retry_after": 86400}, None, MAX_RETRY_AFTER_SECONDS),
        ({"retry_after": -1}, None, None),
        ({"retry_after": True}, None, None),
        ({"retry_after": None}, "soon", None),
        ({"retry_after": [5]}, "", None),
        ({"retry_after": float("inf")}, "nan", None),
        ({"retry_after": 10**400}, None, None),
        ({"detail": ["resets in ~30s"]}, None, None),
    ],
)
def test_how_long_to_wait(body: dict[str, Any], header: str | None, expected: float | None) -> None:
    assert parse_retry_delay(body, header, now=NOW) == expected


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3),
)


@given(
    body=st.dictionaries(st.sampled_from(["retry_after", "detail", "status"]), json_values),
    header=st.none() | st.text(max_size=40),
)
def test_whatever_replicate_sends_gives_a_wait_within_bounds(
    body: dict[str, Any], header: str | None
) -> None:
    wait = parse_retry_delay(body, header, now=NOW)
    assert wait is None or 0 <= wait <= MAX_RETRY_AFTER_SECONDS
    limit = parse_reduced_limit(body)
    assert limit is None or limit > 0


@pytest.mark.parametrize(
    ("detail", "expected"),
    [
        (
            "Your rate limit is reduced to 6 requests per minute with a burst of 1 requests",
            6,
        ),
        ("Your rate limit is reduced to 1 request per minute", 1),
        ("Request was throttled. Your rate limit resets in ~30s.", None),
        ("reduced to 0 requests per minute", None),
        (None, None),
    ],
)
def test_the_limit_that_replicate_names(detail: object, expected: int | None) -> None:
    assert parse_reduced_limit({"detail": detail}) == expected
