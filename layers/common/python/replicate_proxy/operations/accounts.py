"""Administration of tenants' own accounts at Replicate: tokens are checked, stored, and deleted in time."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Protocol

from replicate_proxy.accounts.directory import RETIREMENT, CurrentAccount, TenantAccounts
from replicate_proxy.audit.model import AuditAction
from replicate_proxy.clock import format_timestamp, parse_timestamp
from replicate_proxy.errors import (
    ApiError,
    ConfigurationError,
    ConflictError,
    ProxyError,
    RetryableError,
    UnknownNameError,
    field_error,
)
from replicate_proxy.jobs.model import SHARED_ACCOUNT, Account
from replicate_proxy.net.deadline import Deadline
from replicate_proxy.observability import logger
from replicate_proxy.parallel import MAX_THREADS, map_in_parallel
from replicate_proxy.replicate_api.errors import RejectedError, TokenRejectedError, UnexpectedResponseError
from replicate_proxy.replicate_api.webhook_secret import WebhookSecretRefresher

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from replicate_proxy.accounts.directory import AccountStore
    from replicate_proxy.audit.log import AuditLog
    from replicate_proxy.ports import Clock

_LAST_CHARACTERS = 4
# A token of which this is not a small part must not be shown.
_MIN_TOKEN_CHARACTERS = 20
_TAKEN = "belongs to a Replicate account that this deployment already uses for others"
# For all that Replicate is asked about a token, which is stored then: a request has 29 seconds.
_CHECK_SECONDS = 15.0
# For one account of many.
_REFRESH_SECONDS = 5.0
_HOUR_SECONDS = 3600


class AccountClient(Protocol):
    """Asks Replicate about the account that a token belongs to."""

    def get_account_name(self, *, deadline: Deadline | None = None) -> str: ...

    def get_webhook_secret(self, *, deadline: Deadline | None = None) -> str: ...


class StoredSecret(Protocol):
    """A secret of one account, as one text."""

    def read(self) -> str:
        """Return the text, empty if there is none."""
        ...

    def write(self, text: str) -> None: ...

    def delete(self) -> None: ...


class AccountService:
    """Stores, describes and removes the accounts of tenants.

    `connect(token)` returns a client for a token, `connect_stored(account)` one for the stored token.
    `get_token(account)` and `get_webhook_secret(account)` return where the secrets are kept.
    """

    def __init__(
        self,
        *,
        store: AccountStore,
        connect: Callable[[str], AccountClient],
        connect_stored: Callable[[Account], AccountClient],
        get_token: Callable[[Account], StoredSecret],
        get_webhook_secret: Callable[[Account], StoredSecret],
        clock: Clock,
        audit: AuditLog,
    ) -> None:
        self._store = store
        self._audit = audit
        self._connect = connect
        self._connect_stored = connect_stored
        self._get_token = get_token
        self._get_webhook_secret = get_webhook_secret
        self._clock = clock

    def get(self, tenant: str) -> TenantAccounts:
        return self._store.read().get(tenant, TenantAccounts())

    def put(self, tenant: str, token: str) -> TenantAccounts:
        """Check the token with Replicate, store it, and let the tenant's new jobs run in its account.

        A token of the present account replaces the earlier one for running jobs as well. Raises a 422
        ApiError if Replicate rejects the token or it belongs to an account of others, a 503 ApiError if
        Replicate cannot be asked; then nothing is stored.
        """
        with self._audit.change(
            AuditAction.PUT_REPLICATE_TOKEN,
            _get_target(tenant),
            tenant=tenant,
            before=asdict(self.get(tenant)),
        ) as change:
            account = self._check_token(tenant, token)
            # The secrets first: once the directory names the account, jobs need them.
            self._get_token(account).write(token)
            now = format_timestamp(self._clock.now())
            current = CurrentAccount(account.name, now, _show_end(token))
            changed = self._store.change(tenant, lambda accounts: accounts.with_current(current, now))
            change.after = asdict(changed)
        logger.info("Replicate token of tenant stored", tenant=tenant, replicate_account=account.name)
        return changed

    def delete(self, tenant: str) -> None:
        """Let new jobs of the tenant run in the shared account. Raises UnknownNameError without a token.

        Jobs that run in the tenant's account go on there: `maintain` deletes the secrets later.
        """
        before = self.get(tenant)
        if before.current is None:
            raise UnknownNameError(f"tenant {tenant} has no Replicate token")
        with self._audit.change(
            AuditAction.DELETE_REPLICATE_TOKEN, _get_target(tenant), tenant=tenant, before=asdict(before)
        ) as change:
            now = format_timestamp(self._clock.now())
            changed = self._store.change(tenant, lambda accounts: accounts.with_current(None, now))
            change.after = asdict(changed)
        logger.info("Replicate token of tenant removed", tenant=tenant)

    def forget_tenant(self, tenant: str) -> None:
        """Delete the accounts of a tenant with their secrets. Nothing of it may be running any more."""
        accounts = self.get(tenant)
        names = [account.name for account in (accounts.current, *accounts.retired) if account]
        for account in [Account(tenant, name) for name in names]:
            self._get_token(account).delete()
            self._get_webhook_secret(account).delete()
        if names:
            self._store.change(tenant, lambda _: TenantAccounts())

    def maintain(self, deadline: datetime) -> None:
        """Delete the secrets of accounts retired for long, and refresh the webhook secrets of all others.

        One account that fails, for example since its token is revoked, or for which Replicate does not
        respond, does not keep the others from it. Each run begins with other accounts: those that one has no
        time for are among the first of a later one.
        """
        now, accounts_by_tenant = self._clock.now(), self._store.read()
        for tenant, accounts in accounts_by_tenant.items():
            for retired in accounts.retired:
                if now - parse_timestamp(retired.retired_at) >= RETIREMENT:
                    self._forget(Account(tenant, retired.name))
        current = [
            Account(tenant, accounts.current.name)
            for tenant, accounts in accounts_by_tenant.items()
            if accounts.current is not None
        ]
        start = int(now.timestamp() // _HOUR_SECONDS) * MAX_THREADS % max(len(current), 1)
        refresh = partial(self._refresh_webhook_secret, run_until=deadline)
        map_in_parallel(refresh, [*current[start:], *current[:start]])

    def _check_token(self, tenant: str, token: str) -> Account:
        """Return the account of the token, whose webhook secret is stored then."""
        client, deadline = self._connect(token), Deadline(_CHECK_SECONDS)
        fetch_secret = partial(client.get_webhook_secret, deadline=deadline)
        try:
            account = Account(tenant, client.get_account_name(deadline=deadline))
            self._check_owner(tenant, account.name, deadline)
            WebhookSecretRefresher(fetch_secret, self._get_webhook_secret(account)).refresh()
        except (TokenRejectedError, RejectedError) as error:
            raise field_error("token", "is rejected by Replicate", error_type="rejected") from error
        except (RetryableError, UnexpectedResponseError) as error:
            detail = "The token could not be checked with Replicate, and is not stored"
            raise ApiError(503, "Service unavailable", detail, retry_after=30) from error
        return account

    def _check_owner(self, tenant: str, name: str, deadline: Deadline) -> None:
        """Raise a 422 ApiError if others use the account: lists and webhooks would mix their jobs."""
        is_taken = any(
            other != tenant and accounts.has(name) for other, accounts in self._store.read().items()
        )
        with suppress(TokenRejectedError, ConfigurationError):  # a deployment without a token of its own
            shared = self._connect_stored(SHARED_ACCOUNT)
            is_taken = is_taken or shared.get_account_name(deadline=deadline) == name
        if is_taken:
            raise field_error("token", _TAKEN, error_type="account_in_use")

    def _refresh_webhook_secret(self, account: Account, *, run_until: datetime) -> None:
        if self._clock.now() >= run_until:
            logger.warning("webhook secret of tenant left to a later run", tenant=account.tenant)
            return
        client = self._connect_stored(account)
        fetch_secret = partial(client.get_webhook_secret, deadline=Deadline(_REFRESH_SECONDS))
        try:
            WebhookSecretRefresher(fetch_secret, self._get_webhook_secret(account)).refresh()
        except ProxyError as error:
            logger.warning(
                "webhook secret of tenant not refreshed", tenant=account.tenant, reason=type(error).__name__
            )

    def _forget(self, account: Account) -> None:
        """Delete the secrets first: what the directory does not name is never deleted."""
        try:
            self._get_token(account).delete()
            self._get_webhook_secret(account).delete()
            self._store.change(account.tenant, lambda accounts: accounts.without_retired(account.name))
        except (RetryableError, ConflictError) as error:
            logger.warning("retired account not deleted", tenant=account.tenant, reason=str(error))
        else:
            logger.info("retired account deleted", tenant=account.tenant, replicate_account=account.name)


def calculate_deletion(retired_at: str) -> str:
    """Return when the secrets of an account that was retired then are deleted at the earliest."""
    return format_timestamp(parse_timestamp(retired_at) + RETIREMENT)


def _get_target(tenant: str) -> str:
    return f"tenants/{tenant}/replicate-token"


def _show_end(token: str) -> str:
    return token[-_LAST_CHARACTERS:] if len(token) >= _MIN_TOKEN_CHARACTERS else ""
