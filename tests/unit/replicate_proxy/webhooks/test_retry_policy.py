"""The time of the next attempt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_proxy.webhooks.retry_policy import calculate_next_attempt_at
from replicate_proxy.webhooks.settings import DEFAULT_SCHEDULE_SECONDS, DeliverySettings
from tests.support.clock import NOW

DEFAULT = DeliverySettings()


def calculate_delay(
    failed_attempts: int, *, retry_after: float | None = None, random_fraction: float = 0.5
) -> float | None:
    """Return the seconds until the next attempt under the default settings."""
    attempt_at = calculate_next_attempt_at(
        DEFAULT,
        failed_attempts=failed_attempts,
        now=NOW,
        retry_after_seconds=retry_after,
        random_fraction=lambda: random_fraction,
    )
    return None if attempt_at is None else (attempt_at - NOW).total_seconds()


def test_default_schedule_has_ten_attempts_in_75_hours() -> None:
    assert len(DEFAULT_SCHEDULE_SECONDS) == 10
    assert 75 <= sum(DEFAULT_SCHEDULE_SECONDS) / 3600 < 76
    delays = [calculate_delay(failed_attempts) for failed_attempts in range(1, 10)]
    assert delays == list(DEFAULT_SCHEDULE_SECONDS[1:])
    assert calculate_delay(10) is None


@given(st.integers(1, 9), st.floats(0, 1, exclude_max=True))
def test_jitter_stays_within_a_fifth(failed_attempts: int, random_fraction: float) -> None:
    scheduled = DEFAULT_SCHEDULE_SECONDS[failed_attempts]
    delay = calculate_delay(failed_attempts, random_fraction=random_fraction)
    assert delay is not None
    assert 0.8 * scheduled - 1e-3 <= delay <= 1.2 * scheduled + 1e-3


@given(st.integers(1, 9), st.floats(0, 1e9))
def test_retry_after_only_delays_and_is_capped(failed_attempts: int, retry_after: float) -> None:
    scheduled = DEFAULT_SCHEDULE_SECONDS[failed_attempts]
    delay = calculate_delay(failed_attempts, retry_after=retry_after)
    assert delay is not None
    assert delay >= scheduled - 1e-3
    assert delay <= max(scheduled, DEFAULT.max_retry_after_seconds) + 1e-3
    if scheduled <= retry_after <= DEFAULT.max_retry_after_seconds:
        assert delay == pytest.approx(retry_after, abs=1e-3)
