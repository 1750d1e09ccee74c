from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from replicate_proxy.observability import metrics
from tests.support.deliveries import World

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _metrics_go_nowhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Outside a handler nobody flushes them, and a hundred unflushed ones want a namespace."""
    monkeypatch.setattr(metrics.provider, "namespace", "Tests")
    yield
    metrics.provider.clear_metrics()


@pytest.fixture
def world() -> World:
    return World()
