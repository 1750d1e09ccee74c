"""Fixtures: a fake clock, and the access table in moto."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from moto import mock_aws

from tests.support.access import create_access_table, set_aws_environment
from tests.support.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def dynamodb(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A DynamoDB client of an account that contains only the access table."""
    set_aws_environment(monkeypatch)
    with mock_aws():
        yield create_access_table()
