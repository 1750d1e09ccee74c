"""The sweep's part in deliveries: hand every one whose time has come to the queue again."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from replicate_proxy.errors import RetryableError
from replicate_proxy.observability import logger
from replicate_proxy.testing.checkpoints import Checkpoint, no_checkpoint

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from replicate_proxy.ports import Clock
    from replicate_proxy.webhooks.ports import DeliveryQueue, DueDelivery, Outbox
    from replicate_proxy.webhooks.retry_policy import DeliverySettings


_PAGE = 100
_AHEAD = timedelta(minutes=1)


class DueDeliveries:
    """Called every minute. What was handed over leaves the window: the next pass goes on from there."""

    def __init__(
        self,
        *,
        outbox: Outbox,
        queue: DeliveryQueue,
        clock: Clock,
        settings: DeliverySettings,
        checkpoint: Checkpoint = no_checkpoint,
    ) -> None:
        self._outbox = outbox
        self._queue = queue
        self._clock = clock
        self._settings = settings
        self._checkpoint = checkpoint

    def run(self, now: datetime, until: datetime) -> int:
        """Sends commands for all due within a minute of `now`, each delayed to its second; the number sent.

        Stops at `until`. What a passing failure leaves in one shard is the next pass's, too.
        """
        sent = 0
        for shard in self._shards(now):
            try:
                for page in self._pages(shard, now, until):
                    self._hand_over(page, now)
                    sent += len(page)
            except RetryableError as error:
                logger.warning("due deliveries left for the next pass", shard=shard, reason=str(error))
            if self._clock.now() >= until:
                logger.warning("due deliveries left for the next pass", since=shard, reason="out of time")
                break
        return sent

    def _pages(self, shard: int, now: datetime, until: datetime) -> Iterator[Sequence[DueDelivery]]:
        """What was handed over is no longer due, so each page is the first."""
        while self._clock.now() < until:
            page = self._outbox.due(shard, before=now + _AHEAD, limit=_PAGE)
            yield page
            if len(page) < _PAGE:
                return

    def _shards(self, now: datetime) -> list[int]:
        """Beginning with another one each minute, so that a short budget starves none."""
        shards = self._settings.due_shards
        first = int(now.timestamp() // 60) % shards
        return [(first + step) % shards for step in range(shards)]

    def _hand_over(self, page: Sequence[DueDelivery], now: datetime) -> None:
        """Sent first: a crash in between sends twice, which the claim makes harmless, rather than never."""
        by_delay: dict[float, list[DueDelivery]] = {}
        for row in page:
            delay = max(0.0, (row.due_at - now).total_seconds())
            by_delay.setdefault(float(int(delay) + (delay > int(delay))), []).append(row)
        for delay, rows in by_delay.items():
            self._queue.send([row.command for row in rows], delay=delay)
            self._checkpoint("sweep.deliveries_enqueued")
            for row in rows:
                until = max(row.due_at, now) + timedelta(seconds=self._settings.handover)
                self._outbox.hand_over(row, until=until)
