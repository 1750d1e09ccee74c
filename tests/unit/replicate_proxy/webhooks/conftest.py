"""Fixtures: the pipeline of webhook deliveries."""

from __future__ import annotations

import pytest

from tests.support.delivery_pipeline import DeliveryPipeline


@pytest.fixture
def pipeline() -> DeliveryPipeline:
    return DeliveryPipeline()
