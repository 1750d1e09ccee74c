"""A tenant's registered endpoint: its URL, the events it receives, and why it is disabled. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from replicate_proxy.ids import generate_id
from replicate_proxy.webhooks.model import EventKind

if TYPE_CHECKING:
    from datetime import datetime

    from replicate_proxy.webhooks.ports import DeliveryPosition
    from replicate_proxy.webhooks.signing_secrets import SigningSecret


class DisabledReason(StrEnum):
    """Why an endpoint is disabled."""

    BY_TENANT = "by_tenant"
    GONE = "gone"
    REQUESTED_BY_RECEIVER = "requested_by_receiver"
    FAILING_TOO_LONG = "failing_too_long"
    TOO_MANY_FAILURES = "too_many_consecutive_failures"


@dataclass(frozen=True, slots=True, kw_only=True)
class MissedSearch:
    """The sweep's search for what an endpoint missed since `disabled_at`, due at `due_at`.

    `after` is where the last run of the search ended, None for the first.
    """

    disabled_at: datetime
    due_at: datetime
    after: DeliveryPosition | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A registered endpoint.

    Empty `events` means all events; `secrets` are newest first; `revision` grows by one with each save and
    guards it. `missed_search` is set when the endpoint is enabled, until the search has found nothing more.
    `unsearched_since` is the start of a search that was dropped because the endpoint was disabled again.
    """

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
    missed_search: MissedSearch | None = None
    unsearched_since: datetime | None = None
    revision: int = 0

    @property
    def is_enabled(self) -> bool:
        return self.disabled_reason is None

    @property
    def missed_since(self) -> datetime | None:
        """Return since when a disabled endpoint has missed events that no search has found yet."""
        if self.disabled_at is None:
            return None
        search_since = self.missed_search.disabled_at if self.missed_search else None
        return min(time for time in (self.disabled_at, self.unsearched_since, search_since) if time)

    def subscribes_to(self, kind: EventKind) -> bool:
        return kind is EventKind.TEST or not self.events or kind in self.events


def generate_endpoint_id(now: datetime) -> str:
    """Return `ep_` and 26 characters that sort by time."""
    return f"ep_{generate_id(now)}"
