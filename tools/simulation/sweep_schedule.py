"""The schedule of the sweep."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from replicate_proxy.clock import format_timestamp
from tools.simulation.lambda_service import EnvironmentPool, report_unexpected
from tools.simulation.observation import has_due_entry, read_items
from tools.simulation.resources import Table

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from tools.simulation.functions.components import Components
    from tools.simulation.functions.sweep import Sweep
    from tools.simulation.scheduler import Actor

_SWEEP_TIMEOUT_SECONDS = 55.0
_SWEEP_SLACK = timedelta(seconds=10)
_MINUTE = 60.0


class SweepSchedule:
    """Starts the sweep in each minute in which something is due."""

    def __init__(
        self, components: Components, *, pool: EnvironmentPool, handle: Callable[[Sweep], None]
    ) -> None:
        self.crashes: list[float] = []
        self._scheduler = components.scheduler
        self._aws = components.aws
        self._clock = components.clock
        self._features = components.features
        self._pool = pool
        self._handle = handle
        self._started_at = self._scheduler.now
        self._scheduler.call_at(self._started_at + _MINUTE, self._start)

    def _start(self) -> None:
        """Start the sweep of this minute, named by it, unless nothing is due: it would read empty indexes."""
        self._scheduler.call_at(self._scheduler.now + _MINUTE, self._start)
        self._aws.dynamodb.expire()
        if not self._is_anything_due():
            return
        environment = self._pool.take()

        def on_end(actor: Actor, error: BaseException | None) -> None:
            self._pool.give_back(environment, is_crashed=error is not None)
            report_unexpected(self._scheduler, actor, error)
            if error is not None:
                self.crashes.append(self._scheduler.now)

        minute = round((self._scheduler.now - self._started_at) / _MINUTE)
        self._scheduler.spawn(
            f"sweep-{minute}",
            lambda: self._handle(environment),
            timeout_seconds=_SWEEP_TIMEOUT_SECONDS,
            on_end=on_end,
        )

    def _is_anything_due(self) -> bool:
        """Return whether a sweep would find work, as far as it does not begin while it runs."""
        soon = self._clock.now() + _SWEEP_SLACK
        # Deliveries are enqueued up to a minute early.
        next_minute = format_timestamp(soon + timedelta(seconds=_MINUTE))
        return (
            has_due_entry(self._aws, Table.JOBS, "by_due", before=format_timestamp(soon))
            or has_due_entry(self._aws, Table.DELIVERIES, "by_due", before=next_minute)
            or self.has_due_batch(soon)
            or self.has_operation(soon)
            or self.has_line()
        )

    def has_due_batch(self, before: datetime) -> bool:
        if not self._features.has_batches:
            return False
        marks = self._aws.dynamodb.tables[Table.JOBS].read_partition("BATCHES#DUE")
        return any(mark["sk"]["S"] < format_timestamp(before) for mark in marks)

    def has_operation(self, before: datetime | None = None) -> bool:
        """Return whether an erasure or a bulk operation goes on, or is due before that time."""
        if not self._features.has_operations:
            return False
        marks = self._aws.dynamodb.tables[Table.JOBS].read_partition("BULK#RUNNING")
        return any(
            before is None or mark.get("due_at", {"S": ""})["S"] <= format_timestamp(before) for mark in marks
        )

    def has_line(self) -> bool:
        """Return whether jobs may be waiting for a slot."""
        records = read_items(self._aws, Table.CONTROL) if self._features.has_limits else ()
        return any(record.get("line_names") for record in records)
