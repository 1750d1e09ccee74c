"""The sweep's part in deliveries, where the table fails in part."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, cast

import pytest

from replicate_proxy.errors import PermanentError, ProxyError, RetryableError
from replicate_proxy.webhooks.due_deliveries import DueDeliveries
from tests.support.clock import NOW
from tests.support.deliveries import World, make_job, processing, succeeded

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from replicate_proxy.webhooks.ports import DueDelivery, Outbox

WINDOW = timedelta(seconds=50)


class _PartlyUnreadable:
    """The outbox with one shard that cannot be listed."""

    def __init__(self, outbox: Outbox, shard: int, error: ProxyError) -> None:
        self._outbox = outbox
        self._shard = shard
        self._error = error

    def due(self, shard: int, *, before: datetime, limit: int) -> Sequence[DueDelivery]:
        if shard == self._shard:
            raise self._error
        return self._outbox.due(shard, before=before, limit=limit)

    def hand_over(self, due: DueDelivery, *, until: datetime) -> None:
        self._outbox.hand_over(due, until=until)


def due_with(world: World, shard: int, error: ProxyError) -> DueDeliveries:
    outbox = cast("Outbox", _PartlyUnreadable(world.outbox, shard, error))
    return DueDeliveries(outbox=outbox, queue=world.queue, clock=world.clock, settings=world.settings)


@pytest.fixture
def waiting(world: World) -> World:
    """Two deliveries that were recorded and never came to the queue."""
    job = processing(make_job())
    world.queue.broken = True
    world.happen((job, succeeded(job)))
    world.queue.broken = False
    world.clock.set(NOW + timedelta(minutes=10))
    return world


@pytest.mark.parametrize("shard", range(1, 8))
def test_a_shard_that_cannot_be_read_keeps_no_other_waiting(waiting: World, shard: int) -> None:
    due = due_with(waiting, shard, RetryableError("throttled"))
    assert due.run(waiting.clock.now(), waiting.clock.now() + WINDOW) == 2
    assert len(waiting.queue) == 2


def test_what_was_left_is_the_next_passes(waiting: World) -> None:
    now = waiting.clock.now()
    assert due_with(waiting, 0, RetryableError("throttled")).run(now, now + WINDOW) == 0
    assert waiting.due.run(now, now + WINDOW) == 2


def test_what_no_pass_can_mend_is_told(waiting: World) -> None:
    now = waiting.clock.now()
    with pytest.raises(PermanentError):
        due_with(waiting, 3, PermanentError("not allowed")).run(now, now + WINDOW)
