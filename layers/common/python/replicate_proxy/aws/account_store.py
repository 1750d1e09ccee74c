"""The accounts of tenants in the control table: one document without secrets, which the functions cache."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from replicate_proxy.accounts.directory import CurrentAccount, RetiredAccount, TenantAccounts
from replicate_proxy.aws.versioned_document import VersionedDocument
from replicate_proxy.errors import PermanentError
from replicate_proxy.stored_fields import build_from_stored

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from replicate_proxy.accounts.directory import AccountsByTenant
    from replicate_proxy.aws.control_table import ControlTable

# An item has at most 400 kB (Amazon DynamoDB, quotas): thousands of tenants with accounts.
_MAX_DOCUMENT_BYTES = 380_000


class DynamoAccountStore:
    """The AccountStore port on the control table."""

    def __init__(self, table: ControlTable) -> None:
        self._document = VersionedDocument(table, "ACCOUNTS")

    def read(self) -> AccountsByTenant:
        return _decode(self._document.read().text)

    def change(self, tenant: str, change: Callable[[TenantAccounts], TenantAccounts]) -> TenantAccounts:
        def change_document(text: str) -> str:
            accounts = _decode(text)
            changed = _encode({**accounts, tenant: change(accounts.get(tenant, TenantAccounts()))})
            if len(changed.encode()) > max(_MAX_DOCUMENT_BYTES, len(text.encode())):
                raise PermanentError("there is no room for the accounts of further tenants")
            return changed

        return _decode(self._document.change(change_document)).get(tenant, TenantAccounts())


def _encode(accounts: AccountsByTenant) -> str:
    """Return the document, without tenants that have no account any more."""
    return json.dumps({tenant: asdict(of) for tenant, of in accounts.items() if of != TenantAccounts()})


def _decode(text: str) -> dict[str, TenantAccounts]:
    return {tenant: _parse(stored) for tenant, stored in json.loads(text or "{}").items()}


def _parse(stored: Mapping[str, Any]) -> TenantAccounts:
    current = stored["current"]
    return TenantAccounts(
        current=build_from_stored(CurrentAccount, current) if current else None,
        retired=tuple(build_from_stored(RetiredAccount, retired) for retired in stored["retired"]),
    )
