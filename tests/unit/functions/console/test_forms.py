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


@pytest.mark.parametrize(
    ("path", "form", "rule"),
    [
        ("/tenants/acme/budget", {"day_usd": "-3"}, "day_usd must be an amount in US dollars such as 12.50"),
        ("/tenants/acme/keys", {"allowed_models": "flux"}, "allowed_models.0 must be owner/name, owner/*"),
        ("/tenants/acme/replicate-token", {"token": "r8 x"}, "token must be printable ASCII characters"),
        (
            "/models/save",
            {"name": "fast", "entry": '{"target": "acme/fast"}', "etag": "*"},
            "name must be of the form owner/name",
        ),
        (
            "/models/save",
            {"name": "acme/fast", "entry": '{"target": "fast"}', "etag": "*"},
            "target must be owner/name, owner/name:version",
        ),
        (
            "/models/save",
            {"name": "acme/fast", "entry": '{"price": {"per_image": "3 cents"}}', "etag": "*"},
            "price.per_image must be an amount in US dollars such as 0.003",
        ),
    ],
)
def test_refused_text_says_what_it_must_be(
    operator: Browser, path: str, form: dict[str, str], rule: str
) -> None:
    page = operator.post(path, form)
    assert page.status == 422
    assert rule in page.text
    assert "pattern" not in page.text
