"""The clock that tests on the local stack can set ahead."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from replicate_proxy.clock import SystemClock
from replicate_proxy.config import Environment
from replicate_proxy.testing.offset_clock import OffsetClock, build_clock
from tests.support.clock import NOW, FakeClock

if TYPE_CHECKING:
    from pathlib import Path


def test_clock_is_ahead_by_the_seconds_in_the_file(tmp_path: Path) -> None:
    offset = tmp_path / "offset"
    clock = OffsetClock(offset, FakeClock())
    assert clock.now() == NOW
    offset.write_text("3600.5\n")
    assert clock.now() == NOW + timedelta(hours=1, milliseconds=500)
    offset.write_text("")
    assert clock.now() == NOW


@pytest.mark.parametrize("endpoint", ["", "https://dynamodb.us-east-1.amazonaws.com"])
def test_clock_has_no_offset_on_aws(tmp_path: Path, endpoint: str) -> None:
    settings = json.dumps({"clock_offset_file": str(tmp_path / "offset")})
    values = {"LOCAL_SETTINGS": settings, "AWS_ENDPOINT_URL": endpoint}
    assert isinstance(build_clock(Environment(values).local_settings()), SystemClock)
    local = values | {"AWS_ENDPOINT_URL": "http://127.0.0.1:4566"}
    assert isinstance(build_clock(Environment(local).local_settings()), OffsetClock)
