"""The forms of the console: their origin and token."""

from __future__ import annotations

import pytest

from tests.support.console import (
    Browser,
    list_audit,
    store_key,
)


@pytest.mark.parametrize("origin", [None, "null", "https://evil.test", "http://proxy.test"])
def test_form_of_another_origin_is_rejected(operator: Browser, origin: str | None) -> None:
    assert operator.post("/pause", {"mode": "hold"}, origin=origin).status == 403
    assert Browser().post("/sign-in", {"key": str(store_key())}, origin=origin).status == 403
    assert list_audit() == []


@pytest.mark.parametrize("token", ["", "0" * 64, "é"])
def test_form_without_token_of_the_session_is_rejected(operator: Browser, token: str) -> None:
    assert operator.post("/pause", {"mode": "hold"}, csrf=token).status == 403


def test_token_of_another_session_is_rejected(operator: Browser, tenant: Browser) -> None:
    assert operator.post("/pause", {"mode": "hold"}, csrf=tenant.token).status == 403
    assert operator.post("/pause", {"mode": "hold"}).status == 303


def test_json_is_no_form(operator: Browser) -> None:
    page = operator.send("POST", "/pause", body="{}", headers={"Content-Type": "application/json"})
    assert page.status == 415
