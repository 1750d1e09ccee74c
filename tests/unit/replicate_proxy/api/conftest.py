"""Fixtures: the routes of predictions and batches over the whole pipeline in memory."""

from __future__ import annotations

import pytest

from tests.support.prediction_api import PredictionApi


@pytest.fixture
def api() -> PredictionApi:
    return PredictionApi()
