"""A tenant's registered endpoint: where its events go, which ones, and under which secrets. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from replicate_proxy.ids import new_id
from replicate_proxy.notifications.model import EventKind

if TYPE_CHECKING:
    from datetime import datetime

    from replicate_proxy.notifications.signing_secret import SigningSecret

__all__ = ["SUBSCRIBABLE", "DisabledReason", "Endpoint", "new_endpoint_id"]

SUBSCRIBABLE = (EventKind.START, EventKind.OUTPUT, EventKind.LOGS, EventKind.COMPLETED)


class DisabledReason(StrEnum):
    """Who or what switched an endpoint off."""

    BY_OWNER = "by_owner"
    GONE = "gone"
    ASKED = "asked_by_receiver"
    FAILING = "failing_too_long"
    TOO_MANY_FAILURES = "too_many_failures_in_a_row"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """`events` empty means all; `secrets` newest first; `rev` guards every write."""

    tenant: str
    id: str
    url: str
    secrets: tuple[SigningSecret, ...]
    created_at: datetime
    updated_at: datetime
    events: tuple[EventKind, ...] = ()
    description: str = ""
    disabled_reason: DisabledReason | None = None
    disabled_at: datetime | None = None
    rev: int = 0

    @property
    def is_enabled(self) -> bool:
        return self.disabled_reason is None

    def wants(self, kind: EventKind) -> bool:
        return kind is EventKind.TEST or not self.events or kind in self.events


def new_endpoint_id(now: datetime) -> str:
    """`ep_` and 26 characters that sort by time."""
    return f"ep_{new_id(now)}"
