"""The console's sign-in and sessions."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from replicate_proxy.auth.principal import Scope
from replicate_proxy.aws.console_store import MAX_ATTEMPTS_PER_MINUTE
from replicate_proxy.bootstrap.environment import clock
from replicate_proxy.contracts.predictions import build_prediction_view
from replicate_proxy.jobs.model import JobStatus
from tests.support.builders import make_job
from tests.support.console import (
    Browser,
    get_key_store,
    store_job,
    store_key,
)


def test_page_without_session_leads_to_sign_in_and_back() -> None:
    browser = Browser()
    page = browser.get("/predictions")
    assert (page.status, page.location) == (303, "/sign-in?next=%2Fpredictions")
    page = browser.post("/sign-in", {"key": str(store_key()), "next": "/predictions"})
    assert (page.status, page.location) == (303, "/predictions")
    assert browser.get("/predictions").status == 200


def test_web_url_of_a_prediction_leads_to_its_page_after_the_sign_in() -> None:
    browser, job = Browser(), store_job(make_job(JobStatus.FAILED, public_base_url="https://proxy.test/prod"))
    path = build_prediction_view(job, input={})["urls"]["web"].removeprefix("https://proxy.test/prod/console")

    target = parse_qs(urlsplit(browser.get(path).location).query)["next"][0]
    page = browser.get(browser.post("/sign-in", {"key": str(store_key()), "next": target}).location)

    assert page.status == 200
    assert job.id in page.text


@pytest.mark.parametrize("target", ["//evil.test", "/\\evil.test", "https://evil.test", "/..//evil.test/?a"])
def test_sign_in_leads_to_no_other_site(target: str) -> None:
    page = Browser().post("/sign-in", {"key": str(store_key()), "next": target})
    assert page.headers["location"] == "/prod/console"


def test_cookie_is_protected_and_holds_no_secret() -> None:
    secret = store_key()
    header = Browser().post("/sign-in", {"key": str(secret)}).headers["set-cookie"]
    assert header.startswith("__Host-console=")
    assert {"Path=/", "HttpOnly", "SameSite=Strict", "Secure"} <= set(header.split("; "))
    assert "Domain" not in header
    assert secret.secret not in header


def test_cookie_without_https_has_no_prefix() -> None:
    browser = Browser(scheme="http")
    header = browser.post("/sign-in", {"key": str(store_key())}, origin="http://proxy.test").headers[
        "set-cookie"
    ]
    assert header.startswith("console=")
    assert "Secure" not in header


@pytest.mark.parametrize("key", ["", "rp_short", "rp_aaaaaaaaaaaa_" + "a" * 43])
def test_unknown_key_is_rejected_with_advice(key: str) -> None:
    page = Browser().post("/sign-in", {"key": key})
    assert page.status == 401
    assert "key" in page.text.lower()
    assert "set-cookie" not in page.headers


def test_key_without_read_scope_cannot_sign_in() -> None:
    page = Browser().post("/sign-in", {"key": str(store_key(Scope.FILES_WRITE))})
    assert page.status == 403
    assert "predictions:read" in page.text


def test_sign_in_is_limited_per_address(monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime.now(UTC)
    monkeypatch.setattr(type(clock), "now", lambda _: now)  # no new minute may begin meanwhile
    browser, other = Browser(), Browser(source_ip="203.0.113.8")
    statuses = [browser.post("/sign-in", {"key": "x"}).status for _ in range(MAX_ATTEMPTS_PER_MINUTE + 1)]
    assert statuses == [*[401] * MAX_ATTEMPTS_PER_MINUTE, 429]
    assert other.sign_in(store_key()).status == 303


def test_forged_and_foreign_cookies_are_no_session() -> None:
    browser = Browser()
    browser.sign_in(store_key())
    content, _, signature = browser.cookies["__Host-console"].partition(".")
    for value in (f"{content}x.{signature}", f"{content}.{'0' * 64}", "", "a.b", "é.x", "." * 9000):
        browser.cookies["__Host-console"] = value
        assert browser.get().status == 303


def test_revoked_key_ends_the_session(tenant: Browser) -> None:
    (key,) = get_key_store().list()
    get_key_store().save(replace(key, revoked_at=datetime.now(UTC)))
    assert tenant.get("/predictions").status == 303


def test_expired_key_ends_the_session(tenant: Browser) -> None:
    (key,) = get_key_store().list()
    get_key_store().save(replace(key, expires_at=datetime.now(UTC) - timedelta(seconds=1)))
    assert tenant.get().status == 303


def test_rotation_without_overlap_ends_sessions_of_the_old_secret(operator: Browser) -> None:
    browser, secret = Browser(), store_key()
    browser.sign_in(secret)
    assert operator.post(f"/keys/{secret.key_id}/rotate", {"hours": "1"}).status == 200
    assert browser.get().status == 200
    assert operator.post(f"/keys/{secret.key_id}/rotate", {"hours": "0"}).status == 200
    assert browser.get().status == 303


def test_session_is_bound_to_the_addresses_of_the_key() -> None:
    browser = Browser()
    browser.sign_in(store_key(allowed_ips=("203.0.113.0/24",)))
    assert browser.get().status == 200
    browser.source_ip = "198.51.100.1"
    assert browser.get().status == 303


def test_session_ends_after_twelve_hours(tenant: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    later = datetime.now(UTC) + timedelta(hours=12, seconds=1)
    monkeypatch.setattr(type(clock), "now", lambda _self: later)
    assert tenant.get().status == 303


def test_form_of_an_ended_session_says_that_nothing_was_changed(operator: Browser) -> None:
    operator.cookies.clear()
    page = operator.post("/pause", {"tenant": "acme", "mode": "hold"})
    assert (page.status, page.location) == (303, "/sign-in?notice=session_ended")
    shown = operator.get(page.location)
    assert "nothing was changed" in shown.text
    assert '<p class="note trouble" role="status">' in shown.html


def test_sign_out_of_an_ended_session_is_a_sign_out(operator: Browser) -> None:
    operator.cookies.clear()
    assert operator.post("/sign-out").location == "/sign-in?notice=signed_out"


def test_sign_out_ends_the_session(tenant: Browser) -> None:
    page = tenant.post("/sign-out")
    assert (page.status, "Max-Age=0" in page.headers["set-cookie"]) == (303, True)
    assert tenant.get().status == 303


def test_part_of_page_without_session_makes_htmx_leave() -> None:
    page = Browser().get("/predictions", headers={"HX-Request": "true"})
    assert page.headers["hx-redirect"].endswith("/sign-in?next=%2Fpredictions")


def test_sign_in_leads_back_to_the_filter(operator: Browser) -> None:
    path = "/predictions?tenant=acme&status=failed&metadata=order%3D4+%26+2&notice=cancel"
    page = Browser().get(path)
    (target,) = parse_qs(urlsplit(page.location).query)["next"]
    assert target == "/predictions?tenant=acme&status=failed&metadata=order%3D4+%26+2"
    secret = store_key(Scope.ADMIN, tenant="operator", name="op")
    assert Browser().post("/sign-in", {"key": str(secret), "next": target}).location == target
    assert operator.get(target).status == 200
