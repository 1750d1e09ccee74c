"""The sweep's part in deliveries, where the table fails in part."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, cast

import pytest

from replicate_proxy.errors import PermanentError, ProxyError, RetryableError
from replicate_proxy.webhooks.delivery_sweep import DeliverySweep
from tests.support.clock import NOW
from tests.support.webhook_builders import as_processing, as_succeeded, make_job
from tests.support.webhook_simulation import WebhookSimulation

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from replicate_proxy.webhooks.ports import DeliveryStore, DueDelivery

WINDOW = timedelta(seconds=50)


class _PartlyUnreadable:
    """The outbox with one shard that cannot be listed."""

    def __init__(self, outbox: DeliveryStore, shard: int, error: ProxyError) -> None:
        self._outbox = outbox
        self._shard = shard
        self._error = error

    def list_due(self, shard: int, *, before: datetime, limit: int) -> Sequence[DueDelivery]:
        if shard == self._shard:
            raise self._error
        return self._outbox.list_due(shard, before=before, limit=limit)

    def postpone(self, due: DueDelivery, *, due_at: datetime) -> None:
        self._outbox.postpone(due, due_at=due_at)


def due_with(world: WebhookSimulation, shard: int, error: ProxyError) -> DeliverySweep:
    outbox = cast("DeliveryStore", _PartlyUnreadable(world.deliveries, shard, error))
    return DeliverySweep(deliveries=outbox, queue=world.queue, clock=world.clock, settings=world.settings)


@pytest.fixture
def waiting(world: WebhookSimulation) -> WebhookSimulation:
    """Two deliveries that were recorded and never came to the queue."""
    job = as_processing(make_job())
    world.queue.is_broken = True
    world.apply_changes((job, as_succeeded(job)))
    world.queue.is_broken = False
    world.clock.set(NOW + timedelta(minutes=10))
    return world


@pytest.mark.parametrize("shard", range(1, 8))
def test_a_shard_that_cannot_be_read_keeps_no_other_waiting(waiting: WebhookSimulation, shard: int) -> None:
    due = due_with(waiting, shard, RetryableError("throttled"))
    assert due.enqueue_due(waiting.clock.now(), waiting.clock.now() + WINDOW) == 2
    assert len(waiting.queue) == 2


def test_what_was_left_is_the_next_passes(waiting: WebhookSimulation) -> None:
    now = waiting.clock.now()
    assert due_with(waiting, 0, RetryableError("throttled")).enqueue_due(now, now + WINDOW) == 0
    assert waiting.delivery_sweep.enqueue_due(now, now + WINDOW) == 2


def test_what_no_pass_can_mend_is_told(waiting: WebhookSimulation) -> None:
    now = waiting.clock.now()
    with pytest.raises(PermanentError):
        due_with(waiting, 3, PermanentError("not allowed")).enqueue_due(now, now + WINDOW)
