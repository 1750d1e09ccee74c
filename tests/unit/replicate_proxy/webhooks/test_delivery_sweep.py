"""The sweep of due deliveries when the table cannot be read in part."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, cast

import pytest

from replicate_proxy.errors import PermanentError, ProxyError, RetryableError
from replicate_proxy.webhooks.delivery_sweep import DeliverySweep
from tests.support.webhook_builders import as_processing, as_succeeded, make_job

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from replicate_proxy.webhooks.ports import DeliveryStore, DueDelivery, DueEndpoint
    from tests.support.delivery_pipeline import DeliveryPipeline

SWEEP_BUDGET = timedelta(seconds=50)


class _FailingShardStore:
    """A delivery store in which one shard of the due index cannot be listed."""

    def __init__(self, deliveries: DeliveryStore, failing_shard: int, error: ProxyError) -> None:
        self._deliveries = deliveries
        self._failing_shard = failing_shard
        self._error = error

    def list_due(self, shard: int, *, before: datetime, limit: int) -> Sequence[DueDelivery | DueEndpoint]:
        if shard == self._failing_shard:
            raise self._error
        return self._deliveries.list_due(shard, before=before, limit=limit)

    def postpone(self, due: DueDelivery, *, due_at: datetime, paused_since: datetime | None = None) -> None:
        self._deliveries.postpone(due, due_at=due_at, paused_since=paused_since)


def build_sweep(pipeline: DeliveryPipeline, failing_shard: int, error: ProxyError) -> DeliverySweep:
    store = cast("DeliveryStore", _FailingShardStore(pipeline.deliveries, failing_shard, error))
    return DeliverySweep(
        deliveries=store,
        queue=pipeline.queue,
        redelivery=pipeline.redelivery,
        clock=pipeline.clock,
        settings=pipeline.settings,
    )


@pytest.fixture
def pipeline_with_due(pipeline: DeliveryPipeline) -> DeliveryPipeline:
    """A pipeline with two deliveries, both in shard 0, that were stored but not enqueued."""
    job = as_processing(make_job())
    pipeline.queue.is_broken = True
    pipeline.apply_changes((job, as_succeeded(job)))
    pipeline.queue.is_broken = False
    pipeline.clock.advance(minutes=10)
    return pipeline


@pytest.mark.parametrize("failing_shard", range(1, 8))
def test_sweep_enqueues_other_shards_when_one_cannot_be_read(
    pipeline_with_due: DeliveryPipeline, failing_shard: int
) -> None:
    sweep = build_sweep(pipeline_with_due, failing_shard, RetryableError("throttled"))
    now = pipeline_with_due.clock.now()
    assert sweep.enqueue_due(now, now + SWEEP_BUDGET) == 2
    assert len(pipeline_with_due.queue) == 2


def test_next_sweep_enqueues_what_a_failed_one_left(pipeline_with_due: DeliveryPipeline) -> None:
    now = pipeline_with_due.clock.now()
    failing_sweep = build_sweep(pipeline_with_due, 0, RetryableError("throttled"))
    assert failing_sweep.enqueue_due(now, now + SWEEP_BUDGET) == 0
    assert pipeline_with_due.delivery_sweep.enqueue_due(now, now + SWEEP_BUDGET) == 2


def test_sweep_raises_permanent_error(pipeline_with_due: DeliveryPipeline) -> None:
    now = pipeline_with_due.clock.now()
    sweep = build_sweep(pipeline_with_due, 3, PermanentError("not allowed"))
    with pytest.raises(PermanentError):
        sweep.enqueue_due(now, now + SWEEP_BUDGET)
