"""Tests of waiting with a time limit."""

import pytest

from tools.local.errors import LocalError
from tools.local.waiting import wait_for


@pytest.mark.parametrize("values", [(None, None, 0), (False, False, True), (None, [])])
def test_wait_returns_the_first_value_that_is_neither_none_nor_false(values: tuple[object, ...]) -> None:
    poll = iter(values).__next__
    assert wait_for(poll, timeout_seconds=10, description="the value") is values[-1]


@pytest.mark.parametrize("value", [None, False])
def test_wait_raises_after_the_timeout(value: object) -> None:
    with pytest.raises(LocalError, match="timed out after 0 s waiting for the value"):
        wait_for(lambda: value, timeout_seconds=0.05, description="the value")


def test_wait_raises_when_the_process_ended() -> None:
    with pytest.raises(LocalError, match="the process ended while waiting for the value"):
        wait_for(lambda: None, timeout_seconds=10, description="the value", is_alive=lambda: False)
