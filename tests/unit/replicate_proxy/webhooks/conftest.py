from __future__ import annotations

import pytest

from tests.support.deliveries import World


@pytest.fixture
def world() -> World:
    return World()
