"""Which tenants have brought an account of their own at Replicate. No I/O but through the store.

Tokens and webhook secrets are kept elsewhere, by tenant and account name. An account that a tenant has left
is kept as retired for a while, with its secrets: jobs that run there are polled, canceled and reported there.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

from replicate_proxy.cached_reading import CachedReading
from replicate_proxy.jobs.model import SHARED_ACCOUNT, Account

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

RETIREMENT = timedelta(days=2)
"""How long the secrets of a retired account are kept: longer than a job stays in an account that it cannot
use (`jobs.timeouts`), and than any prediction runs."""

_CACHE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class CurrentAccount:
    """The account of a tenant: its name at Replicate, when its token was stored, and how that ends."""

    name: str
    since: str
    last_characters: str


@dataclass(frozen=True, slots=True)
class RetiredAccount:
    """An account that the tenant has left at the time `retired_at`."""

    name: str
    retired_at: str


@dataclass(frozen=True, slots=True)
class TenantAccounts:
    """The accounts of one tenant."""

    current: CurrentAccount | None = None
    retired: tuple[RetiredAccount, ...] = ()

    def has(self, name: str) -> bool:
        """Return whether it is the tenant's account, or was until lately."""
        return any(account.name == name for account in (self.current, *self.retired) if account)

    def with_current(self, account: CurrentAccount | None, now: str) -> TenantAccounts:
        """Return the accounts after the tenant has moved to this one, or to none."""
        retired = self.retired
        if self.current is not None:
            retired = (*retired, RetiredAccount(self.current.name, now))
        name = account.name if account else None
        return TenantAccounts(account, tuple(other for other in retired if other.name != name))

    def without_retired(self, name: str) -> TenantAccounts:
        return replace(self, retired=tuple(other for other in self.retired if other.name != name))


type AccountsByTenant = Mapping[str, TenantAccounts]


class AccountStore(Protocol):
    """Keeps the accounts of all tenants as one document."""

    def read(self) -> AccountsByTenant: ...

    def change(self, tenant: str, change: Callable[[TenantAccounts], TenantAccounts]) -> TenantAccounts:
        """Apply the change to the tenant's accounts and return them. It may be applied again.

        Raises ConflictError if others keep changing the document.
        """
        ...


class AccountDirectory:
    """Finds the account of a tenant, read again after `_CACHE_SECONDS`."""

    def __init__(self, store: AccountStore, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._accounts = CachedReading(
            "accounts", store.read, max_age_seconds=_CACHE_SECONDS, monotonic=monotonic
        )

    def find(self, tenant: str) -> Account:
        """Return the account in which new jobs of the tenant run.

        Raises RetryableError if the accounts were not read in the last minute: nothing may run at the expense
        of another.
        """
        accounts = self._accounts.get().get(tenant)
        if accounts is None or accounts.current is None:
            return SHARED_ACCOUNT
        return Account(tenant, accounts.current.name)
