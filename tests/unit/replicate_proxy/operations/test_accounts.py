"""Tokens of tenants: what the admin API checks, stores and shows, and what is deleted in time."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from moto import mock_aws

from replicate_proxy import parallel
from replicate_proxy.accounts.directory import CurrentAccount, TenantAccounts
from replicate_proxy.aws.account_store import DynamoAccountStore
from replicate_proxy.errors import ConflictError
from replicate_proxy.jobs.model import Account
from replicate_proxy.replicate_api.errors import UpstreamUnavailableError
from tests.support.accounts import OWN_SECRET, SHARED_TOKEN, FakeAccountStore
from tests.support.aws import create_control_table, create_in_memory_aws
from tests.support.control_table import build_control_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from replicate_proxy.accounts.directory import AccountStore
    from replicate_proxy.net.deadline import Deadline
    from tests.support.admin_api import AdminApi

PATH = "tenants/acme/replicate-token"
TOKEN = "r8_TheTokenOfAcmeAtReplicate0001"
NEW_TOKEN = "r8_TheTokenOfAcmeAtReplicate0002"
OWN = Account("acme", "acme-corp")
CURRENT = CurrentAccount("acme-corp", "2026-01-31T09:30:00.000Z", "0001")


@pytest.fixture(params=["fake", "simulation", "moto"])
def store(request: pytest.FixtureRequest) -> Iterator[AccountStore]:
    if request.param == "fake":
        yield FakeAccountStore()
    elif request.param == "simulation":
        yield DynamoAccountStore(build_control_table(create_in_memory_aws().client("dynamodb")))
    else:
        with mock_aws():
            yield DynamoAccountStore(build_control_table(create_control_table()))


def test_accounts_are_stored_for_each_tenant(store: AccountStore) -> None:
    assert store.read() == {}
    set_current = TenantAccounts(CURRENT)
    assert store.change("acme", lambda accounts: accounts.with_current(CURRENT, "now")) == set_current
    other = CurrentAccount("globex-corp", "2026-01-31T09:30:00.000Z", "")
    store.change("globex", lambda accounts: accounts.with_current(other, "now"))
    retired = store.change("acme", lambda accounts: accounts.with_current(None, "2026-02-01T00:00:00.000Z"))
    assert store.read() == {"acme": retired, "globex": TenantAccounts(other)}
    store.change("acme", lambda accounts: accounts.without_retired("acme-corp"))
    assert store.read().get("acme", TenantAccounts()) == TenantAccounts()


def test_concurrent_changes_of_accounts_do_not_undo_each_other() -> None:
    store = DynamoAccountStore(build_control_table(create_in_memory_aws().client("dynamodb")))
    interruptions = iter([True])

    def change(accounts: TenantAccounts) -> TenantAccounts:
        if next(interruptions, False):
            store.change("globex", lambda other: other.with_current(CURRENT, "now"))
        return accounts.with_current(CURRENT, "now")

    store.change("acme", change)
    assert set(store.read()) == {"acme", "globex"}

    def change_always(accounts: TenantAccounts) -> TenantAccounts:
        store.change("globex", lambda other: other.with_current(None if other.current else CURRENT, "now"))
        return accounts.with_current(None, "now")

    with pytest.raises(ConflictError):
        store.change("acme", change_always)


@pytest.fixture
def api(admin_api: AdminApi) -> AdminApi:
    """The admin API, with a Replicate that knows the tokens of one account."""
    admin_api.accounts.names |= {TOKEN: "acme-corp", NEW_TOKEN: "acme-corp"}
    return admin_api


def maintain(api: AdminApi, seconds: float = 20) -> None:
    api.accounts.service.maintain(api.clock.now() + timedelta(seconds=seconds))


def test_token_is_stored_and_never_shown(api: AdminApi) -> None:
    status, view = api.call("PUT", PATH, {"token": TOKEN})
    assert status == 200
    assert view["replicate_account"] == "acme-corp"
    assert view["token_ends_with"] == "0001"
    assert api.accounts.secrets["token", OWN] == TOKEN
    assert api.accounts.secrets["webhook secret", OWN] == OWN_SECRET

    status, shown = api.call("GET", PATH)
    assert (status, shown["is_set"], shown["breaker"]["state"]) == (200, True, "closed")
    assert TOKEN not in json.dumps([view, shown])
    assert TOKEN not in json.dumps(api.call("PUT", PATH, {"token": TOKEN, TOKEN[:3]: 1})[1])


def test_tenant_without_token_uses_the_shared_account(api: AdminApi) -> None:
    assert api.call("GET", PATH) == (
        200,
        {
            "tenant": "acme",
            "is_set": False,
            "replicate_account": None,
            "since": None,
            "token_ends_with": None,
            "retired": [],
            "breaker": None,
        },
    )
    assert api.call("DELETE", PATH)[0] == 404


def test_end_of_a_short_token_is_not_shown(api: AdminApi) -> None:
    api.accounts.names["short"] = "acme-corp"
    assert api.call("PUT", PATH, {"token": "short"})[1]["token_ends_with"] == ""


@pytest.mark.parametrize("token", ["r8_unknown", "has space", "", "ümlaut", None])
def test_rejected_token_is_named_and_not_stored(api: AdminApi, token: str | None) -> None:
    status, problem = api.call("PUT", PATH, {"token": token})
    assert (status, problem["invalid_fields"][0]["field"]) == (422, "token")
    assert not token or token not in json.dumps(problem)
    assert api.accounts.store.accounts == {}


def test_nothing_is_stored_when_replicate_is_unavailable(api: AdminApi) -> None:
    api.accounts.error = UpstreamUnavailableError("Replicate answered 503")
    assert api.call("PUT", PATH, {"token": TOKEN})[0] == 503
    assert api.accounts.store.accounts == {}
    assert ("token", OWN) not in api.accounts.secrets


def test_account_of_another_tenant_is_refused_even_while_it_is_retired(api: AdminApi) -> None:
    api.call("PUT", "tenants/globex/replicate-token", {"token": TOKEN})
    assert api.call("PUT", PATH, {"token": NEW_TOKEN})[0] == 422
    api.call("DELETE", "tenants/globex/replicate-token")
    status, problem = api.call("PUT", PATH, {"token": NEW_TOKEN})
    assert (status, problem["invalid_fields"][0]["type"]) == (422, "account_in_use")


def test_shared_account_is_refused(api: AdminApi) -> None:
    api.accounts.names[NEW_TOKEN] = api.accounts.names[SHARED_TOKEN]
    assert api.call("PUT", PATH, {"token": NEW_TOKEN})[0] == 422


def test_deployment_without_a_token_of_its_own_accepts_tokens(api: AdminApi) -> None:
    api.accounts.secrets.clear()
    assert api.call("PUT", PATH, {"token": TOKEN})[0] == 200


def test_rotated_token_replaces_the_earlier_one(api: AdminApi) -> None:
    api.call("PUT", PATH, {"token": TOKEN})
    view = api.call("PUT", PATH, {"token": NEW_TOKEN})[1]
    assert (view["token_ends_with"], view["retired"]) == ("0002", [])
    assert api.accounts.secrets["token", OWN] == NEW_TOKEN


def test_secrets_of_a_removed_account_are_deleted_after_two_days(api: AdminApi) -> None:
    api.call("PUT", PATH, {"token": TOKEN})
    assert api.call("DELETE", PATH)[0] == 204
    (retired,) = api.call("GET", PATH)[1]["retired"]
    assert retired["name"] == "acme-corp"
    api.clock.advance(timedelta(days=2).total_seconds() - 1)
    maintain(api)
    assert api.accounts.secrets["token", OWN] == TOKEN

    api.clock.advance(1)
    maintain(api)
    assert ("token", OWN) not in api.accounts.secrets
    assert ("webhook secret", OWN) not in api.accounts.secrets
    assert api.call("GET", PATH)[1]["retired"] == []


def test_maintenance_refreshes_the_webhook_secrets_of_all_accounts_that_work(api: AdminApi) -> None:
    api.call("PUT", PATH, {"token": TOKEN})
    api.accounts.names[SHARED_TOKEN + "2"] = "globex-corp"
    api.call("PUT", "tenants/globex/replicate-token", {"token": SHARED_TOKEN + "2"})
    del api.accounts.names[TOKEN]  # revoked
    api.accounts.webhook_secret = "whsec_bmV3LXNlY3JldC1uZXctc2VjcmV0LW5ldy1zZWNyZXQ="
    maintain(api)
    globex = Account("globex", "globex-corp")
    assert api.accounts.secrets["webhook secret", globex].split() == [
        api.accounts.webhook_secret,
        OWN_SECRET,
    ]
    assert api.accounts.secrets["webhook secret", OWN] == OWN_SECRET


def test_accounts_that_do_not_respond_keep_no_other_from_its_secret(
    api: AdminApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them share the 29 seconds of one invocation."""
    # The clock is that of all threads: one that the system delays would find its time used up by the others.
    monkeypatch.setattr(parallel, "MAX_THREADS", 1)
    tokens = {number: f"r8_TheTokenOfTenant{number:02}AtReplicate" for number in range(20)}
    for number, token in tokens.items():
        api.accounts.names[token] = f"corp-{number}"
        assert api.call("PUT", f"tenants/tenant-{number}/replicate-token", {"token": token})[0] == 200
    allowed: list[float] = []
    asked: list[str] = []

    def hang(token: str, deadline: Deadline | None) -> None:
        assert deadline is not None
        allowed.append(deadline.remaining_seconds)
        asked.append(token)
        api.clock.advance(1)
        raise UpstreamUnavailableError("no response from Replicate")

    api.accounts.before_call = hang
    maintain(api, seconds=9)
    assert 9 <= len(asked) < len(tokens)
    assert max(allowed) <= 5

    # Those that were left have their turn in one of the next hours.
    for _ in range(4):
        api.clock.advance(hours=1)
        maintain(api, seconds=9)
    assert set(asked) == set(tokens.values())


def test_token_that_cannot_be_checked_in_time_is_not_stored(api: AdminApi) -> None:
    """Three calls to Replicate share what the request has of its 29 seconds."""
    deadlines: list[Deadline | None] = []
    api.accounts.before_call = lambda _token, deadline: deadlines.append(deadline)
    assert api.call("PUT", PATH, {"token": TOKEN})[0] == 200
    assert len(deadlines) == 3
    deadline = deadlines[0]
    assert deadline is not None
    assert set(deadlines) == {deadline}
    assert deadline.remaining_seconds <= 15


def test_routes_require_the_scope_admin_and_a_tenant_name(api: AdminApi) -> None:
    for method, body in (("GET", None), ("PUT", {"token": TOKEN}), ("DELETE", None)):
        assert api.call(method, PATH, body, scopes="predictions:write")[0] == 403
        assert api.call(method, "tenants/Not_A_Name/replicate-token", body)[0] == 422
