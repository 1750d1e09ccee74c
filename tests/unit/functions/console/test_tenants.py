"""The console's pages of tenants: keys, budgets, limits, pauses, accounts, erasure."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta

import boto3
import pytest

from replicate_proxy.accounts.directory import CurrentAccount
from replicate_proxy.aws.account_store import DynamoAccountStore
from replicate_proxy.aws.control_table import ControlTable
from replicate_proxy.clock import format_timestamp
from tests.support.aws import CONTROL_TABLE
from tests.support.console import (
    HOSTILE,
    Browser,
    Page,
    list_audit,
    store_key,
)


def test_private_outputs_of_a_tenant_are_switched(operator: Browser) -> None:
    checked = 'name="private_outputs" value="true" checked'
    assert checked not in operator.get("/tenants/acme").html
    form = {"display_name": "Acme", "private_outputs": "true"}
    assert operator.post("/tenants/acme/settings", form).status == 303
    assert checked in operator.get("/tenants/acme").html
    assert json.loads(list_audit()[0].after)["private_outputs"] is True
    assert operator.post("/tenants/acme/settings", {"display_name": "Acme"}).status == 303
    assert checked not in operator.get("/tenants/acme").html


def test_key_is_shown_once_rotated_and_revoked(operator: Browser) -> None:
    form = {"name": HOSTILE[:90], "scopes": ["predictions:read"], "allowed_ips": "203.0.113.0/24"}
    created = operator.post("/tenants/acme/keys", form)
    (secret,) = re.findall(r"rp_[a-z2-7]{12}_[0-9A-Za-z]{43}", created.text)
    shown = operator.get("/tenants/acme")
    assert secret not in shown.html
    assert "<script>" not in shown.html.replace("<script src=", "")
    assert Browser().sign_in(secret).status == 303
    key_id = secret.split("_")[1]
    rotated = operator.post(f"/keys/{key_id}/rotate", {"hours": "24"})
    assert secret not in rotated.text
    assert operator.post(f"/keys/{key_id}/revoke").status == 303
    assert "revoked" in operator.get("/tenants/acme").text
    assert Browser().sign_in(secret).status == 401
    assert operator.post("/tenants/acme/keys", {"allowed_ips": "nowhere"}).status == 422


def test_expired_key_is_not_shown_as_valid(operator: Browser) -> None:
    now = datetime.now(UTC)
    expired = store_key(tenant="lapsed", expires_at=now - timedelta(hours=2))
    store_key(tenant="lapsed", expires_at=now + timedelta(days=2, minutes=1))

    page = operator.get("/tenants/lapsed")
    (row,) = re.findall(rf"<tr><th[^>]*><a [^>]*>{expired.key_id}<.*?</tr>", page.html, re.DOTALL)
    assert ">expired</span>" in row
    assert ">valid</span>" not in row
    assert page.html.count(">valid</span> <small>until ") == 1
    tenants = operator.get("/tenants").html
    assert '<td class="n" data-label="Valid keys">1</td>' in tenants.partition("/tenants/lapsed")[2]


@pytest.mark.parametrize("hours", ["", "nan", "inf", "-inf", "1e308", "-1", "169", "x"])
def test_overlap_of_a_rotation_that_is_out_of_range_is_rejected(operator: Browser, hours: str) -> None:
    page = operator.post(f"/keys/{store_key().key_id}/rotate", {"hours": hours})
    assert page.status == 422
    assert "hours" in page.text


def test_budget_settings_and_pause_of_a_tenant(operator: Browser) -> None:
    assert operator.post("/tenants/acme/budget", {"day_usd": "5", "month_usd": ""}).status == 303
    assert "$5.00" in operator.get("/tenants/acme").text
    assert "$5.00" in operator.get("/usage?tenant=acme").text
    assert operator.post("/tenants/acme/budget", {"day_usd": "much"}).status == 422
    assert operator.post("/tenants/acme/budget", {"day_usd": "", "month_usd": ""}).status == 303
    settings = {"display_name": HOSTILE, "retention": "7d"}
    assert operator.post("/tenants/acme/settings", settings).status == 303
    assert 'value="7d"' in operator.get("/tenants/acme").html
    assert operator.post("/tenants/acme/settings", {**settings, "retention": "soon"}).status == 422
    assert "<script>alert" not in operator.get("/tenants").html
    form = {"tenant": "acme", "mode": "refuse", "reason": HOSTILE}
    assert operator.post("/pause", form).location == "/tenants/acme?notice=predictions_paused"
    assert "Predictions are paused: new ones are refused" in operator.get("/tenants/acme").text
    assert operator.post("/resume", {"tenant": "acme"}).status == 303
    assert operator.post("/pause", {"mode": "hold"}).status == 303
    assert "Predictions of all tenants are paused." in operator.get().text
    assert operator.post("/resume").status == 303


def test_tenant_is_erased_after_its_name_is_typed(operator: Browser) -> None:
    created = operator.post("/tenants/initech/keys", {"name": "k", "scopes": ["predictions:read"]})
    (secret,) = re.findall(r"rp_[a-z2-7]{12}_[0-9A-Za-z]{43}", created.text)
    assert operator.get("/tenants/initech/erasure").status == 404
    for confirm in ("", "acme", "Initech"):
        refused = operator.post("/tenants/initech/erase", {"confirm": confirm})
        assert refused.status == 422
        assert "must be the name of the tenant" in refused.text
    assert Browser().sign_in(secret).status == 303

    assert (
        operator.post("/tenants/initech/erase", {"confirm": "initech"}).location == "/tenants/initech/erasure"
    )

    report = operator.get("/tenants/initech/erasure")
    assert "Waiting until nothing can arrive any more." in report.text
    assert "What stays" in report.text
    assert Browser().sign_in(secret).status == 401
    page = operator.get("/tenants/initech")
    assert "The tenant is being erased" in page.text
    assert "Type initech to confirm" not in page.text
    assert operator.post("/tenants/initech/settings", {"display_name": "x"}).status == 409
    assert operator.post("/tenants/initech/keys", {"name": "k"}).status == 409


def test_webhooks_are_paused_for_a_tenant_and_for_all(operator: Browser) -> None:
    form = {"activity": "deliveries", "tenant": "acme", "reason": "moving"}
    assert operator.post("/pause", form).location == "/tenants/acme?notice=deliveries_paused"
    assert "Webhooks are paused. moving" in operator.get("/tenants/acme").text
    assert "Predictions are paused" not in operator.get("/tenants/acme").text
    assert operator.post("/pause", {"activity": "deliveries", "back": "overview"}).location.startswith("?")
    assert "Webhooks of all tenants are paused" in operator.get().text
    for tenant in ("acme", ""):
        operator.post("/resume", {"activity": "deliveries", "tenant": tenant})
    assert "paused" not in operator.get("/tenants").text


def test_concurrency_limit_is_set_shown_and_removed(operator: Browser) -> None:
    form = {"tenant": "acme", "max_concurrency": "3"}
    assert operator.post("/concurrency", form).location == "/concurrency?notice=saved"
    assert operator.post("/concurrency", {**form, "back": "tenant"}).location == "/tenants/acme?notice=saved"
    assert "0 of 3 in use" in operator.get("/tenants/acme").text
    assert 'value="acme"' in operator.get("/concurrency").html
    assert operator.post("/concurrency", {"tenant": "acme", "max_concurrency": "0"}).status == 422
    assert operator.post("/concurrency", {"tenant": "No", "max_concurrency": "1"}).status == 422
    assert operator.post("/concurrency/remove", {"tenant": "acme"}).status == 303
    assert "No limits" in operator.get("/concurrency").text
    assert operator.post("/concurrency/remove", {"tenant": "acme"}).status == 404


def test_account_of_a_tenant_shows_no_token(operator: Browser) -> None:
    now = format_timestamp(datetime.now(UTC))
    current = CurrentAccount("acme-corp", now, "wxyz")
    store = DynamoAccountStore(ControlTable(boto3.client("dynamodb"), CONTROL_TABLE))
    store.change("acme", lambda accounts: accounts.with_current(current, now))
    page = operator.get("/tenants/acme")
    assert "acme-corp" in page.text
    assert "token missing" in page.text
    assert operator.post("/tenants/acme/replicate-token", {"token": "with space"}).status == 422
    assert operator.post("/tenants/acme/replicate-token/remove").status == 303
    assert "shared account" in operator.get("/tenants/acme").text


def read_revision(page: Page) -> str:
    return str(re.findall(r'name="revision" value="([^"]+)"', page.html)[0])


def read_shown_limits(page: Page) -> str:
    return str(re.findall(r'name="shown_limits" value="([^"]+)"', page.html)[0])


def test_budget_that_another_operator_has_changed_is_not_replaced(operator: Browser) -> None:
    """The form sends both limits: one that was opened before the other was set would remove it."""
    opened = read_shown_limits(operator.get("/tenants/acme"))
    first = {"day_usd": "5", "month_usd": "", "shown_limits": opened}
    assert operator.post("/tenants/acme/budget", first).status == 303

    page = operator.post("/tenants/acme/budget", {"day_usd": "", "month_usd": "50", "shown_limits": opened})

    assert page.status == 409
    assert "The limits have changed" in page.text
    assert 'name="day_usd" type="number" min="0" step="any" value="5"' in page.html
    again = {"day_usd": "5", "month_usd": "50", "shown_limits": read_shown_limits(page)}
    assert operator.post("/tenants/acme/budget", again).status == 303
    assert read_shown_limits(operator.get("/tenants/acme")) == "5000000, 50000000"


def test_invalid_budget_keeps_the_limits_that_it_was_filled_with(operator: Browser) -> None:
    page = operator.post("/tenants/acme/budget", {"day_usd": "much", "shown_limits": "none"})
    assert page.status == 422
    assert read_shown_limits(page) == "none"


def test_budget_says_when_its_period_ends_and_what_counts_as_spent(operator: Browser) -> None:
    store_key(name="backend")
    operator.post("/tenants/acme/budget", {"day_usd": "5", "month_usd": "50"})
    tomorrow = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    for path in ("", "/usage?tenant=acme", "/tenants/acme"):
        page = operator.get(path)
        assert f'day <small>ends <time datetime="{tomorrow:%Y-%m-%d}T00:00:00' in page.html, path
        assert "A prediction whose cost is not known has spent all that was reserved" in page.text


def test_settings_of_a_page_that_is_outdated_are_not_saved(operator: Browser) -> None:
    """Its form would make private outputs public again."""
    path = "/tenants/acme"
    for _ in range(2):
        revision = read_revision(operator.get(path))
        form = {"display_name": "Acme", "private_outputs": "true", "revision": revision}
        assert operator.post(f"{path}/settings", form).status == 303
        page = operator.post(f"{path}/settings", {"display_name": "Acme Ltd", "revision": revision})
        assert page.status == 409
        assert "They were changed since this page was opened" in page.text
        # What is stored is shown, and can be saved.
        assert 'name="private_outputs" value="true" checked' in page.html
        assert 'value="Acme"' in page.html
        assert read_revision(page) != revision


def test_form_of_a_tenant_shows_what_was_typed_with_what_is_wrong(operator: Browser) -> None:
    operator.post("/tenants/acme/settings", {"display_name": "Acme", "private_outputs": "true"})
    key = {"name": "backend", "scopes": ["predictions:read"], "allowed_ips": "203.0.113.0/24, nowhere"}
    page = operator.post("/tenants/acme/keys", key)
    assert page.status == 422
    assert 'value="203.0.113.0/24, nowhere"' in page.html
    assert 'value="predictions:read" checked' in page.html
    assert 'value="predictions:write">' in page.html
    # The other forms are as they were.
    assert 'value="Acme"' in page.html
    assert 'name="private_outputs" value="true" checked' in page.html
    revision = read_revision(page)
    settings = {"display_name": "Acme Ltd", "retention": "soon", "revision": revision}
    page = operator.post("/tenants/acme/settings", settings)
    assert page.status == 422
    assert ('value="Acme Ltd"' in page.html, 'value="soon"' in page.html) == (True, True)
    assert 'name="private_outputs" value="true">' in page.html
