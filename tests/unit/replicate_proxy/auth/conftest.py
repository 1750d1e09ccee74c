"""A clock that stands still, and the access table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from moto import mock_aws

from tests.support.access import access_table, aws_environment
from tests.support.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def dynamodb(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of an account that has the access table and nothing else."""
    aws_environment(monkeypatch)
    with mock_aws():
        yield access_table()
