"""The erasure of a tenant, which is its own progress and report, and how it changes. No I/O."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from replicate_proxy.audit.model import AuditSource
    from replicate_proxy.operations.ports import Stage

REPORT_RETENTION = timedelta(days=365)
"""How long the report is kept after the end of the erasure."""

# What is at work on a tenant ends within 15 minutes after its keys and predictions have (AWS Lambda, quotas:
# function timeout), and so do forms and URLs for uploads (`files.service`).
QUIET_PERIOD = timedelta(minutes=16)
# Predictions that are being canceled.
UNFINISHED_DELAY = timedelta(seconds=30)
# The sweep removes the records of deletions a moment after their last pass is due.
TOMBSTONES_DELAY = timedelta(minutes=5)


class ErasureStatus(StrEnum):
    """`emptied` says that all content is gone: what is left are IDs of predictions, by which late messages
    are recognized. `completed` says that these are gone as well, and that the name is free.
    """

    RUNNING = "running"
    EMPTIED = "emptied"
    COMPLETED = "completed"


class ErasureStep(StrEnum):
    """What the worker does next. Both passes go through all steps."""

    # Keys are revoked, predictions canceled and deleted, until none is left and nothing can create one.
    PREDICTIONS = "predictions"
    # Settings in documents that tenants share, and secrets outside of the tables.
    SETTINGS = "settings"
    # Objects and rows, one place after the other.
    DATA = "data"


@dataclass(frozen=True, slots=True)
class ErasurePage:
    """What was found of a tenant in a part of one place.

    `items` are texts that the place understands, each counted under the kind in `kinds`. `cursor` is None at
    the end. `kept_until` is when the last record of a deletion that was passed over may be removed.
    """

    items: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    cursor: str | None = None
    kept_until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """The erasure of a tenant.

    `pending` are items of the present place that are counted in `removed` already, and may not be removed
    yet: a crash repeats their removal and not the count. `position` is the place among all, and `cursor` what
    was read of it. `found` and `unfinished` count the predictions of the present round.
    """

    tenant: str
    started_at: datetime
    key_id: str
    source: AuditSource
    correlation_id: str
    stage: Stage
    status: ErasureStatus = ErasureStatus.RUNNING
    step: ErasureStep = ErasureStep.PREDICTIONS
    due_at: datetime
    quiet_until: datetime | None = None
    position: int = 0
    cursor: str | None = None
    pending: tuple[str, ...] = ()
    removed: Mapping[str, int] = field(default_factory=dict)
    found: int = 0
    unfinished: int = 0
    tombstones_until: datetime | None = None
    emptied_at: datetime | None = None
    completed_at: datetime | None = None
    revision: int = 0

    @property
    def is_last_pass(self) -> bool:
        return self.status is not ErasureStatus.RUNNING

    def count(self, kinds: Iterable[str]) -> Erasure:
        """Return the erasure with further items of these kinds."""
        return replace(self, removed=dict(Counter(self.removed) + Counter(kinds)))

    def end_round(self, now: datetime) -> Erasure:
        """Return the erasure after a look at all predictions.

        Only a round that finds none after the quiet period is the last one: before, a request that was
        accepted in the meantime may still create some.
        """
        is_quiet = self.quiet_until is not None and now >= self.quiet_until
        if not self.found and not self.unfinished and is_quiet:
            return replace(self, step=ErasureStep.SETTINGS, cursor=None)
        quiet_until = None if self.unfinished else now + QUIET_PERIOD
        if not self.found and not self.unfinished:
            quiet_until = self.quiet_until or quiet_until
        return replace(
            self,
            cursor=None,
            found=0,
            quiet_until=quiet_until,
            due_at=quiet_until or now + UNFINISHED_DELAY,
        )

    def end_pass(self, now: datetime) -> Erasure:
        """Return the erasure after all places: emptied, waiting for the sweep, or completed."""
        following = replace(self, step=ErasureStep.PREDICTIONS, position=0, cursor=None, found=0)
        if self.status is ErasureStatus.RUNNING:
            return replace(
                following,
                status=ErasureStatus.EMPTIED,
                emptied_at=now,
                due_at=max(now, (self.tombstones_until or now) + TOMBSTONES_DELAY),
            )
        if self.tombstones_until is not None and self.tombstones_until + TOMBSTONES_DELAY > now:
            return replace(following, due_at=self.tombstones_until + TOMBSTONES_DELAY)
        return replace(following, status=ErasureStatus.COMPLETED, completed_at=now)
