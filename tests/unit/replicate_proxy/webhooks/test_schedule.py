"""When the next attempt goes out, and the settings behind it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_proxy.config import Environment
from replicate_proxy.errors import ConfigurationError
from replicate_proxy.webhooks.retry_policy import (
    DEFAULT_SCHEDULE_SECONDS,
    DeliverySettings,
    next_attempt_at,
)
from tests.support.clock import NOW

DEFAULT = DeliverySettings()


def wait(
    tries: int, *, retry_after: float | None = None, die: float = 0.5, settings: DeliverySettings = DEFAULT
) -> float | None:
    at = next_attempt_at(
        settings, failed_attempts=tries, now=NOW, retry_after_seconds=retry_after, random_fraction=lambda: die
    )
    return None if at is None else (at - NOW).total_seconds()


def test_the_default_schedule_is_ten_attempts_over_75_hours() -> None:
    assert len(DEFAULT_SCHEDULE_SECONDS) == 10
    assert 75 <= sum(DEFAULT_SCHEDULE_SECONDS) / 3600 < 76
    assert [wait(tries) for tries in range(1, 10)] == list(DEFAULT_SCHEDULE_SECONDS[1:])
    assert wait(10) is None


@given(st.integers(1, 9), st.floats(0, 1, exclude_max=True))
def test_jitter_stays_within_a_fifth(tries: int, die: float) -> None:
    seconds = wait(tries, die=die)
    assert seconds is not None
    assert (
        0.8 * DEFAULT_SCHEDULE_SECONDS[tries] - 1e-3
        <= seconds
        <= 1.2 * DEFAULT_SCHEDULE_SECONDS[tries] + 1e-3
    )


@given(st.integers(1, 9), st.floats(0, 1e9))
def test_retry_after_only_puts_off_and_never_beyond_its_bound(tries: int, asked: float) -> None:
    seconds = wait(tries, retry_after=asked)
    assert seconds is not None
    assert seconds >= DEFAULT_SCHEDULE_SECONDS[tries] - 1e-3
    assert seconds <= max(DEFAULT_SCHEDULE_SECONDS[tries], DEFAULT.max_retry_after_seconds) + 1e-3
    if DEFAULT_SCHEDULE_SECONDS[tries] <= asked <= DEFAULT.max_retry_after_seconds:
        assert seconds == pytest.approx(asked, abs=1e-3)


def test_settings_come_from_the_environment() -> None:
    local = {"AWS_ENDPOINT_URL": "http://127.0.0.1:4566", "DELIVERY_TOTAL_TIMEOUT_SECONDS": "9.5"}
    settings = DeliverySettings.from_env(Environment({"DELIVERY_SCHEDULE": "0, 1,2.5", **local}))
    assert settings.schedule_seconds == (0.0, 1.0, 2.5)
    assert settings.total_timeout_seconds == 9.5
    assert DeliverySettings.from_env(Environment({})) == DeliverySettings()


@pytest.mark.parametrize(
    ("name", "value"),
    [("DELIVERY_SCHEDULE", "0,soon"), ("DELIVERY_SCHEDULE", "0,-1")],
)
def test_a_wrong_setting_is_named(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        DeliverySettings.from_env(Environment({name: value}))
