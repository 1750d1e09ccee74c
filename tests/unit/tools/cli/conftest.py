"""Fixtures of the access table."""

from __future__ import annotations

from tests.unit.replicate_proxy.auth.conftest import clock, dynamodb

__all__ = ["clock", "dynamodb"]
