"""The limits of tenants in the control table: one document, which the functions cache."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING

from replicate_proxy.aws.versioned_document import VersionedDocument
from replicate_proxy.errors import ConflictError

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.aws.control_table import ControlTable
    from replicate_proxy.concurrency.ports import TenantLimits

_MAX_ATTEMPTS = 5


class DynamoTenantLimitStore:
    """The TenantLimitStore port on the control table."""

    def __init__(self, table: ControlTable) -> None:
        self._document = VersionedDocument(table, "TENANT-LIMITS")

    def read(self) -> TenantLimits:
        return _decode(self._document.read().text)

    def put(self, tenant: str, max_concurrency: int) -> TenantLimits:
        return self._change(lambda limits: {**limits, tenant: max_concurrency})

    def remove(self, tenant: str) -> TenantLimits:
        return self._change(lambda limits: {name: limits[name] for name in limits if name != tenant})

    def _change(self, change: Callable[[TenantLimits], TenantLimits]) -> TenantLimits:
        """Apply the change to what is stored. Raises ConflictError if others keep changing the limits."""
        for _ in range(_MAX_ATTEMPTS):
            version = self._document.read()
            limits = change(_decode(version.text))
            with suppress(ConflictError):
                self._document.replace(json.dumps(dict(limits)), revision=version.revision)
                return limits
        raise ConflictError("the limits of tenants keep changing")


def _decode(text: str) -> TenantLimits:
    limits: dict[str, int] = json.loads(text or "{}")
    return limits
