"""Fakes of what keeps and checks tenants' accounts at Replicate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy.accounts.directory import TenantAccounts
from replicate_proxy.errors import ConfigurationError
from replicate_proxy.jobs.model import SHARED_ACCOUNT, Account
from replicate_proxy.operations.accounts import AccountService
from replicate_proxy.replicate_api.errors import TokenRejectedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.accounts.directory import AccountsByTenant
    from replicate_proxy.audit.log import AuditLog
    from replicate_proxy.net.deadline import Deadline
    from replicate_proxy.ports import Clock

OWN_SECRET = "whsec_b3duLWFjY291bnQtc2VjcmV0LW93bi1hY2NvdW50"
SHARED_TOKEN = "r8_SharedTokenOfTheDeployment"


class FakeAccountStore:
    """Keeps the accounts in memory."""

    def __init__(self) -> None:
        self.accounts: dict[str, TenantAccounts] = {}

    def read(self) -> AccountsByTenant:
        return dict(self.accounts)

    def change(self, tenant: str, change: Callable[[TenantAccounts], TenantAccounts]) -> TenantAccounts:
        self.accounts[tenant] = change(self.accounts.get(tenant, TenantAccounts()))
        return self.accounts[tenant]


class FakeSecret:
    """One secret of a `FakeAccounts`."""

    def __init__(self, secrets: dict[tuple[str, Account], str], kind: str, account: Account) -> None:
        self._secrets = secrets
        self._key = (kind, account)

    def read(self) -> str:
        return self._secrets.get(self._key, "")

    def write(self, text: str) -> None:
        self._secrets[self._key] = text

    def delete(self) -> None:
        self._secrets.pop(self._key, None)


class FakeAccounts:
    """A Replicate that knows `names` of accounts by token, and what is stored about the tenants' accounts.

    `error` is raised by every call to Replicate, which takes as long as `before_call` does.
    """

    def __init__(self, clock: Clock, audit: AuditLog) -> None:
        self.store = FakeAccountStore()
        self.names = {SHARED_TOKEN: "deployment"}
        self.secrets: dict[tuple[str, Account], str] = {("token", SHARED_ACCOUNT): SHARED_TOKEN}
        self.webhook_secret = OWN_SECRET
        self.error: Exception | None = None
        self.before_call: Callable[[str, Deadline | None], object] = lambda _token, _deadline: None
        self.service = AccountService(
            store=self.store,
            connect=lambda token: FakeAccountClient(self, token),
            connect_stored=lambda account: FakeAccountClient(self, self.secrets.get(("token", account), "")),
            get_token=lambda account: FakeSecret(self.secrets, "token", account),
            get_webhook_secret=lambda account: FakeSecret(self.secrets, "webhook secret", account),
            clock=clock,
            audit=audit,
        )


class FakeAccountClient:
    """Asks a `FakeAccounts` with one token."""

    def __init__(self, accounts: FakeAccounts, token: str) -> None:
        self._accounts = accounts
        self._token = token

    def get_account_name(self, *, deadline: Deadline | None = None) -> str:
        self._accounts.before_call(self._token, deadline)
        if self._accounts.error is not None:
            raise self._accounts.error
        if not self._token:
            raise ConfigurationError("no token")
        if self._token not in self._accounts.names:
            raise TokenRejectedError("Replicate rejects our token")
        return self._accounts.names[self._token]

    def get_webhook_secret(self, *, deadline: Deadline | None = None) -> str:
        self.get_account_name(deadline=deadline)
        return self._accounts.webhook_secret
