"""Enqueue deliveries that are due: later retries, and deliveries whose message was lost."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from replicate_proxy.errors import RetryableError
from replicate_proxy.observability import logger
from replicate_proxy.testing.checkpoints import Checkpoint, no_checkpoint
from replicate_proxy.webhooks.ports import DueDelivery, DueEndpoint
from replicate_proxy.webhooks.retry_policy import calculate_pause_delay

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from replicate_proxy.pauses.pause import Pause
    from replicate_proxy.ports import Clock
    from replicate_proxy.webhooks.ports import DeliveryQueue, DeliveryStore
    from replicate_proxy.webhooks.redelivery import RedeliveryService
    from replicate_proxy.webhooks.settings import DeliverySettings


_PAGE_SIZE = 100
_LOOKAHEAD = timedelta(minutes=1)


class DeliverySweep:
    """Runs every minute. Enqueued deliveries are no longer due, so each run goes on where the last ended."""

    def __init__(
        self,
        *,
        deliveries: DeliveryStore,
        queue: DeliveryQueue,
        redelivery: RedeliveryService,
        clock: Clock,
        settings: DeliverySettings,
        find_pause: Callable[[str], Pause | None] = lambda _tenant: None,
        checkpoint: Checkpoint = no_checkpoint,
    ) -> None:
        self._deliveries = deliveries
        self._queue = queue
        self._redelivery = redelivery
        self._clock = clock
        self._settings = settings
        self._find_pause = find_pause
        self._checkpoint = checkpoint

    def enqueue_due(self, now: datetime, until: datetime) -> int:
        """Enqueue all deliveries due within a minute of `now`; return their number.

        Each message is delayed to the second at which its delivery is due. Stops at `until`. A shard that
        cannot be read now is left to the next run.
        """
        enqueued = 0
        for shard in self._rotate_shards(now):
            try:
                for page in self._list_due_pages(shard, now, until):
                    enqueued += self._handle(page, now)
            except RetryableError as error:
                logger.warning("due deliveries left for the next run", shard=shard, reason=str(error))
            if self._clock.now() >= until:
                logger.warning("due deliveries left for the next run", shard=shard, reason="out of time")
                break
        return enqueued

    def _handle(self, page: Sequence[DueDelivery | DueEndpoint], now: datetime) -> int:
        """Enqueue the deliveries of a page, and search for what its endpoints missed."""
        deliveries = []
        for due in page:
            if isinstance(due, DueEndpoint):
                continue
            if pause := self._find_pause(due.command.tenant):
                self._hold(due, pause, now)
            else:
                deliveries.append(due)
        self._enqueue(deliveries, now)
        for due in page:
            if isinstance(due, DueEndpoint):
                self._redelivery.continue_missed_search(due.tenant, due.endpoint_id)
        return len(deliveries)

    def _list_due_pages(
        self, shard: int, now: datetime, until: datetime
    ) -> Iterator[Sequence[DueDelivery | DueEndpoint]]:
        """Yield pages until none is left. Enqueuing a page makes the next one the first."""
        while self._clock.now() < until:
            page = self._deliveries.list_due(shard, before=now + _LOOKAHEAD, limit=_PAGE_SIZE)
            yield page
            if len(page) < _PAGE_SIZE:
                return

    def _rotate_shards(self, now: datetime) -> list[int]:
        """Return the shards, starting with another one each minute so that a short run starves none."""
        shards = self._settings.due_shards
        first = int(now.timestamp() // 60) % shards
        return [(first + step) % shards for step in range(shards)]

    def _hold(self, due: DueDelivery, pause: Pause, now: datetime) -> None:
        """Postpone a delivery that is paused, without a message that deliver would only drop."""
        paused_since = max(due.due_at, now)
        due_at = paused_since + calculate_pause_delay(pause, now, self._settings)
        self._deliveries.postpone(due, due_at=due_at, paused_since=paused_since)

    def _enqueue(self, page: Sequence[DueDelivery], now: datetime) -> None:
        """Send first, then postpone: a crash in between sends twice, which the claim makes harmless."""
        by_delay: dict[int, list[DueDelivery]] = {}
        for due in page:
            delay_seconds = math.ceil(max(0.0, (due.due_at - now).total_seconds()))
            by_delay.setdefault(delay_seconds, []).append(due)
        for delay_seconds, group in by_delay.items():
            self._queue.send([due.command for due in group], delay_seconds=delay_seconds)
            self._checkpoint("sweep.deliveries_enqueued")
            for due in group:
                postponed_to = max(due.due_at, now) + timedelta(seconds=self._settings.requeue_after_seconds)
                self._deliveries.postpone(due, due_at=postponed_to)
