"""The limits of tenants in the control table: one document, which the functions cache."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from replicate_proxy.aws.versioned_document import VersionedDocument

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.aws.control_table import ControlTable
    from replicate_proxy.concurrency.ports import TenantLimits


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
        return _decode(self._document.change(lambda text: json.dumps(dict(change(_decode(text))))))


def _decode(text: str) -> TenantLimits:
    limits: dict[str, int] = json.loads(text or "{}")
    return limits
