"""Fixtures of the admin API and of the access table."""

from __future__ import annotations

from tests.unit.replicate_proxy.auth.conftest import clock, dynamodb
from tests.unit.replicate_proxy.operations.conftest import admin_api

__all__ = ["admin_api", "clock", "dynamodb"]
