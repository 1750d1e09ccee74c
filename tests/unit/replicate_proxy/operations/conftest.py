"""Fixtures: the admin API on fakes."""

from __future__ import annotations

import pytest

from tests.support.admin_api import AdminApi


@pytest.fixture
def admin_api() -> AdminApi:
    return AdminApi()
