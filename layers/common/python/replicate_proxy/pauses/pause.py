"""What is paused, and who asks for it. No I/O but through the store."""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from replicate_proxy.cached_reading import CachedReading
from replicate_proxy.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ALL_TENANTS = "*"
_CACHE_SECONDS = 5.0
_RETRY_AFTER_SECONDS = 60


class PausedActivity(StrEnum):
    """What a pause stops. Requests of callers are accepted in any case, unless a pause refuses them."""

    # Nothing is sent to Replicate.
    PREDICTIONS = "predictions"
    # No webhook is sent to applications.
    DELIVERIES = "deliveries"


class PauseMode(StrEnum):
    """What happens to new creates. A pause of deliveries always holds."""

    # They are accepted and wait in the queue.
    HOLD = "hold"
    # They get a 503.
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Pause:
    """A pause of a tenant, or of all tenants; `since` is a timestamp."""

    mode: PauseMode
    since: str
    reason: str = ""


type Pauses = Mapping[str, Pause]
"""Pauses by tenant; ALL_TENANTS for all."""


def find_pause(pauses: Pauses, tenant: str) -> Pause | None:
    """Return the pause that applies to a tenant: its own or that of all, the stricter one."""
    found = [pauses[name] for name in (tenant, ALL_TENANTS) if name in pauses]
    return max(found, key=lambda pause: pause.mode is PauseMode.REFUSE, default=None)


class PauseStore(Protocol):
    """Keeps the pauses of one activity."""

    def read(self) -> Pauses: ...

    def put(self, tenant: str, pause: Pause) -> Pauses:
        """Pause a tenant, in place of an earlier pause of it, and return all pauses."""
        ...

    def remove(self, tenant: str) -> Pauses:
        """Resume a tenant and return the pauses that are left."""
        ...


class PauseSwitch:
    """Finds pauses, read again after `_CACHE_SECONDS`, or within a minute while the table is unreachable."""

    def __init__(self, store: PauseStore, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._pauses = CachedReading(
            "pauses", store.read, max_age_seconds=_CACHE_SECONDS, monotonic=monotonic
        )

    def find(self, tenant: str) -> Pause | None:
        """Return the pause that applies to a tenant.

        Raises RetryableError if the pauses were not read in the last minute: what an operator has stopped
        must not go on.
        """
        return find_pause(self._pauses.get(), tenant)

    def check(self, tenant: str) -> None:
        """Raise a 503 ApiError if creates of the tenant are refused."""
        pause = self.find(tenant)
        if pause is not None and pause.mode is PauseMode.REFUSE:
            detail = f"The operator has paused predictions since {pause.since}"
            detail += f": {pause.reason}" if pause.reason else ""
            raise ApiError(503, "Paused", detail, retry_after=_RETRY_AFTER_SECONDS)
