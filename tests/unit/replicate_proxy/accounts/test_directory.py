"""Accounts of tenants: who has which, what is kept of earlier ones, and values for each of them."""

from __future__ import annotations

import pytest

from replicate_proxy.accounts.directory import (
    AccountDirectory,
    CurrentAccount,
    RetiredAccount,
    TenantAccounts,
)
from replicate_proxy.accounts.per_account import MAX_ACCOUNTS, PerAccount
from replicate_proxy.errors import RetryableError
from replicate_proxy.jobs.model import SHARED_ACCOUNT, Account
from tests.support.accounts import FakeAccountStore
from tests.support.clock import FakeClock

FIRST = CurrentAccount("first", "2026-01-01T00:00:00.000Z", "abcd")
SECOND = CurrentAccount("second", "2026-01-02T00:00:00.000Z", "efgh")
NOW = "2026-01-03T00:00:00.000Z"


def test_account_that_a_tenant_leaves_is_retired_until_it_returns() -> None:
    accounts = TenantAccounts().with_current(FIRST, NOW).with_current(SECOND, NOW)
    assert accounts == TenantAccounts(SECOND, (RetiredAccount("first", NOW),))
    assert accounts.has("first")
    assert accounts.has("second")

    returned = accounts.with_current(FIRST, NOW)
    assert returned == TenantAccounts(FIRST, (RetiredAccount("second", NOW),))
    assert not returned.without_retired("second").has("second")


def test_new_token_of_the_same_account_retires_nothing() -> None:
    renewed = CurrentAccount("first", NOW, "wxyz")
    assert TenantAccounts(FIRST).with_current(renewed, NOW) == TenantAccounts(renewed)


def test_removed_account_is_retired() -> None:
    assert TenantAccounts(FIRST).with_current(None, NOW) == TenantAccounts(
        None, (RetiredAccount("first", NOW),)
    )


class TestAccountDirectory:
    def test_account_is_read_again_after_some_seconds(self) -> None:
        store, clock = FakeAccountStore(), FakeClock()
        directory = AccountDirectory(store, monotonic=clock.monotonic)
        assert directory.find("acme") == SHARED_ACCOUNT
        store.accounts["acme"] = TenantAccounts(FIRST)
        assert directory.find("acme") == SHARED_ACCOUNT
        clock.advance(11)
        assert directory.find("acme") == Account("acme", "first")
        assert directory.find("globex") == SHARED_ACCOUNT

    def test_retired_account_gets_no_new_jobs(self) -> None:
        store = FakeAccountStore()
        store.accounts["acme"] = TenantAccounts(None, (RetiredAccount("first", NOW),))
        assert AccountDirectory(store).find("acme") == SHARED_ACCOUNT

    def test_account_that_was_never_read_is_not_guessed(self) -> None:
        class UnavailableStore(FakeAccountStore):
            def read(self) -> dict[str, TenantAccounts]:
                raise RetryableError("the table is unavailable")

        with pytest.raises(RetryableError):
            AccountDirectory(UnavailableStore()).find("acme")


class TestPerAccount:
    def test_value_is_built_once_for_each_account(self) -> None:
        values = PerAccount(lambda account: [account])
        own = Account("acme", "own")
        assert values.of(own) is values.of(own)
        assert values.of(own) == [own]
        assert values.of(SHARED_ACCOUNT) == [SHARED_ACCOUNT]

    def test_least_recently_used_account_is_dropped_and_the_shared_one_kept(self) -> None:
        values = PerAccount(lambda account: [account])
        shared, first = values.of(SHARED_ACCOUNT), values.of(Account("t", "0"))
        for number in range(1, MAX_ACCOUNTS + 1):
            values.of(Account("t", str(number)))
        assert values.of(SHARED_ACCOUNT) is shared
        assert values.of(Account("t", "0")) is not first


def test_keys_of_the_shared_account_are_not_qualified() -> None:
    assert SHARED_ACCOUNT.qualify("RATE#creates") == "RATE#creates"
    assert Account("acme", "own").qualify("RATE#creates") == "RATE#creates@acme/own"
