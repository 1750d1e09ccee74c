"""Deliveries while an operator has paused them, and after the resume."""

from __future__ import annotations

from datetime import timedelta

import pytest

from replicate_proxy.errors import RetryableError
from replicate_proxy.pauses.pause import ALL_TENANTS
from replicate_proxy.webhooks.commands import DeliverCommand
from replicate_proxy.webhooks.model import DeliveryStatus
from replicate_proxy.webhooks.settings import DEFAULT_SCHEDULE_SECONDS
from tests.support.delivery_pipeline import DeliveryPipeline
from tests.support.webhook_builders import TENANT, as_processing, as_succeeded, make_job
from tests.support.webhook_fakes import refuse_connection, respond

DAY = 86_400.0


def run_job(pipeline: DeliveryPipeline, tenant: str = TENANT) -> str:
    """Let a job run and succeed whose webhook receives all events; return its ID."""
    job = make_job(tenant=tenant, webhook_events=("start", "output", "completed"))
    running = as_processing(job)
    pipeline.apply_changes((job, running), (running, as_succeeded(running)))
    return job.id


@pytest.mark.parametrize("paused", [TENANT, ALL_TENANTS])
def test_paused_deliveries_go_out_once_and_in_order_after_resume(
    pipeline: DeliveryPipeline, paused: str
) -> None:
    pipeline.pause(paused)
    run_job(pipeline)
    pipeline.run_for(DAY)
    assert pipeline.receiver.received == []
    assert {delivery.status for delivery in pipeline.deliveries.list_all()} == {DeliveryStatus.PENDING}

    pipeline.pauses.remove(paused)
    pipeline.run_for(400)

    assert [request.event for request in pipeline.receiver.received] == ["start", "output", "completed"]


def test_other_tenants_receive_theirs_during_a_pause(pipeline: DeliveryPipeline) -> None:
    pipeline.pause("another")
    run_job(pipeline, "another")
    job_id = run_job(pipeline)
    pipeline.run_for(600)

    assert [request.json()["id"] for request in pipeline.receiver.received] == [job_id] * 3


def test_short_pause_ends_within_a_minute_and_a_half(pipeline: DeliveryPipeline) -> None:
    pipeline.pause(TENANT)
    pipeline.complete_job()
    pipeline.run_for(10)
    pipeline.pauses.remove(TENANT)
    pipeline.run_for(90)

    assert len(pipeline.receiver.accepted) == 1


def test_long_pause_uses_up_neither_attempts_nor_the_age_of_a_delivery(pipeline: DeliveryPipeline) -> None:
    pipeline.receiver.behavior = lambda _: refuse_connection()
    pipeline.complete_job()
    pipeline.run_for(30)
    before = len(pipeline.receiver.received)
    pipeline.pause(TENANT)
    pipeline.run_for(20 * DAY)
    assert len(pipeline.receiver.received) == before

    pipeline.pauses.remove(TENANT)
    pipeline.run_for(4 * DAY)

    assert len(pipeline.receiver.received) == len(DEFAULT_SCHEDULE_SECONDS)


def test_pause_does_not_let_a_later_event_overtake_a_rejected_one(pipeline: DeliveryPipeline) -> None:
    pipeline.receiver.behavior = lambda request: respond(400 if request.event == "start" else 200)
    run_job(pipeline)
    pipeline.run_for(30)
    pipeline.pause(TENANT)
    pipeline.run_for(3600)
    pipeline.pauses.remove(TENANT)

    pipeline.run_for(500)
    assert {request.event for request in pipeline.receiver.received} == {"start"}
    pipeline.run_for(900)
    assert [request.event for request in pipeline.receiver.accepted] == ["output", "completed"]


def test_redelivery_starts_without_the_pauses_of_the_earlier_schedule(pipeline: DeliveryPipeline) -> None:
    pipeline.pause(TENANT)
    pipeline.complete_job()
    pipeline.run_for(3600)
    pipeline.pauses.remove(TENANT)
    pipeline.run_for(400)
    (delivery,) = pipeline.deliveries.list_all()
    assert delivery.paused_seconds > 3000

    pipeline.redelivery.redeliver(TENANT, delivery.id)

    (delivery,) = pipeline.deliveries.list_all()
    assert (delivery.paused_since, delivery.paused_seconds) == (None, 0)
    assert delivery.calculate_age(pipeline.clock.now() + timedelta(seconds=5)) == timedelta(seconds=5)


def test_nothing_is_sent_before_the_pauses_are_known(pipeline: DeliveryPipeline) -> None:
    pipeline.pauses.is_unavailable = True
    pipeline.complete_job()
    (delivery,) = pipeline.deliveries.list_all()

    with pytest.raises(RetryableError):
        pipeline.deliverer.deliver(DeliverCommand.for_delivery(delivery))
    assert pipeline.receiver.received == []
