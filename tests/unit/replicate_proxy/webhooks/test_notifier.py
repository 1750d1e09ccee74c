"""What the notifier publishes, and which changes it asks to see again after a failure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from replicate_proxy.jobs.model import JobStatus
from tests.support.webhook_builders import as_processing, as_succeeded, make_job

if TYPE_CHECKING:
    import pytest

    from tests.support.delivery_pipeline import DeliveryPipeline


def test_status_changes_are_published_on_bus_and_topic(pipeline: DeliveryPipeline) -> None:
    job = make_job()
    running = as_processing(job)
    harvesting = replace(running, status=JobStatus.HARVESTING, revision=3)

    pipeline.apply_changes(
        (None, job), (job, running), (running, harvesting), (harvesting, as_succeeded(harvesting))
    )

    published = [(event.data["previous_status"], event.data["status"]) for event in pipeline.bus.published]
    assert published == [(None, "starting"), ("starting", "processing"), ("processing", "succeeded")]
    assert [attributes["status"] for _, attributes in pipeline.topic.messages] == [
        "starting",
        "processing",
        "succeeded",
    ]


def test_job_that_is_restored_from_a_backup_is_not_reported_again(pipeline: DeliveryPipeline) -> None:
    """Its deliveries may have expired, so that its events would be sent as new ones."""
    assert pipeline.apply_changes((None, as_succeeded(make_job()))) is None

    pipeline.run_for()
    assert pipeline.receiver.accepted == []
    assert pipeline.bus.published == []
    assert pipeline.topic.messages == []


def test_notify_returns_index_of_change_that_cannot_be_stored(
    pipeline: DeliveryPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raise_os_error(*_: object) -> None:
        raise OSError("no route")

    monkeypatch.setattr(pipeline.documents, "save", raise_os_error)
    job = make_job()

    # The first change has no events, so it stores no document.
    assert pipeline.apply_changes((None, job), (job, as_succeeded(job)), (job, as_succeeded(job))) == 1


def test_notify_returns_first_index_when_queue_fails(pipeline: DeliveryPipeline) -> None:
    pipeline.queue.is_broken = True
    job = make_job()
    assert pipeline.apply_changes((job, as_succeeded(job))) == 0

    pipeline.queue.is_broken = False
    assert pipeline.apply_changes((job, as_succeeded(job))) is None
    pipeline.run_for()
    assert len(pipeline.receiver.accepted) == 2
