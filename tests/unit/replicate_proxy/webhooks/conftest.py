"""Fixtures: a simulation of webhook delivery."""

from __future__ import annotations

import pytest

from tests.support.webhook_simulation import WebhookSimulation


@pytest.fixture
def simulation() -> WebhookSimulation:
    return WebhookSimulation()
