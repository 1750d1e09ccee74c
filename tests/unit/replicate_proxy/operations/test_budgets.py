"""The budgets of tenants and keys in the admin API, and the mark of the keys that have one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.access import make_key

if TYPE_CHECKING:
    from tests.support.admin_api import AdminApi

BUDGET = {"day_usd": "5.00", "month_usd": None}


def create_key(admin_api: AdminApi, tenant: str = "acme") -> str:
    key_id: str = admin_api.call("POST", "keys", {"tenant": tenant})[1]["id"]
    return key_id


def has_budget(admin_api: AdminApi, key_id: str) -> bool:
    return admin_api.keys.keys[key_id].has_budget


def test_budget_of_a_tenant_is_set_shown_and_deleted(admin_api: AdminApi) -> None:
    assert admin_api.call("GET", "tenants/acme/budget")[0] == 404

    status, shown = admin_api.call("PUT", "tenants/acme/budget", BUDGET)

    assert status == 200
    assert (shown["day_usd"], shown["month_usd"]) == ("5.000000", None)
    assert [(window["period"], window["left_usd"]) for window in shown["windows"]] == [("day", "5.000000")]
    assert admin_api.call("GET", "tenants/acme/budget") == (200, shown)
    assert admin_api.call("DELETE", "tenants/acme/budget")[0] == 204
    assert admin_api.call("DELETE", "tenants/acme/budget")[0] == 404


def test_keys_know_whether_they_or_their_tenant_have_a_budget(admin_api: AdminApi) -> None:
    before, other = create_key(admin_api), create_key(admin_api, "globex")
    admin_api.call("PUT", "tenants/acme/budget", BUDGET)
    after = create_key(admin_api)
    assert [has_budget(admin_api, key) for key in (before, after, other)] == [True, True, False]

    admin_api.call("PUT", f"keys/{before}/budget", BUDGET)
    admin_api.call("DELETE", "tenants/acme/budget")
    assert [has_budget(admin_api, key) for key in (before, after)] == [True, False]

    admin_api.call("DELETE", f"keys/{before}/budget")
    assert not has_budget(admin_api, before)


def test_change_of_a_budget_takes_effect_at_once(admin_api: AdminApi) -> None:
    create_key(admin_api)
    flushed = len(admin_api.gateway.flushed_stages)

    admin_api.call("PUT", "tenants/acme/budget", BUDGET)

    assert len(admin_api.gateway.flushed_stages) == flushed + 1


def test_budget_of_an_unknown_key_is_not_found(admin_api: AdminApi) -> None:
    key, _ = make_key()

    assert admin_api.call("PUT", f"keys/{key.id}/budget", BUDGET)[0] == 404


@pytest.mark.parametrize(
    "body",
    [{}, {"day_usd": 5}, {"day_usd": "-1"}, {"day_usd": "1.0000001"}, {"day_usd": "1", "year_usd": "1"}],
)
def test_invalid_budget_is_refused(admin_api: AdminApi, body: dict[str, Any]) -> None:
    status, problem = admin_api.call("PUT", "tenants/acme/budget", body)

    assert status == 422
    assert problem["invalid_fields"]
