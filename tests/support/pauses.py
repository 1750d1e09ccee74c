"""Pauses in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy.errors import RetryableError

if TYPE_CHECKING:
    from replicate_proxy.pauses.pause import Pause, Pauses


class FakePauseStore:
    """A PauseStore in memory; reads fail while it is unavailable."""

    def __init__(self, pauses: Pauses | None = None) -> None:
        self.pauses = dict(pauses or {})
        self.is_unavailable = False

    def read(self) -> Pauses:
        if self.is_unavailable:
            raise RetryableError("the table cannot be reached")
        return dict(self.pauses)

    def put(self, tenant: str, pause: Pause) -> Pauses:
        self.pauses[tenant] = pause
        return self.read()

    def remove(self, tenant: str) -> Pauses:
        self.pauses.pop(tenant, None)
        return self.read()
