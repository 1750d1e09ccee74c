"""Predictions with odd values: whatever Replicate says, the job ends and its neighbors are not affected."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from replicate_proxy.clock import format_timestamp
from replicate_proxy.jobs.model import Job, JobStatus
from replicate_proxy.replicate_api.errors import OutcomeUnknownError, RejectedError
from replicate_proxy.services.rendering import PredictionRenderer
from tests.support.pipeline import Pipeline

if TYPE_CHECKING:
    from collections.abc import Callable

LARGE = "x" * 450_000
WIDE = "\N{GRINNING FACE}" * 110_000
DEEP = "[" * 1_100 + '"\\u00e9"' + "]" * 1_100


@pytest.fixture
def pipeline() -> Pipeline:
    return Pipeline()


def submit_job(pipeline: Pipeline) -> tuple[Job, str]:
    """Return a job that runs on Replicate, and the ID of its prediction."""
    job = pipeline.accept_job().job
    pipeline.drain_messages()
    prediction_id = pipeline.get_job(job).replicate_id
    assert prediction_id is not None
    return job, prediction_id


def end_by_webhook(pipeline: Pipeline, prediction_id: str, body: bytes) -> None:
    pipeline.send_webhook(prediction_id, body)
    pipeline.drain_messages()


def make_body(prediction_id: str, **fields: str) -> bytes:
    """Return a succeeded prediction with fields in raw JSON."""
    parts = [f'"id": "{prediction_id}"']
    parts += [f'"{name}": {text}' for name, text in {"status": '"succeeded"', **fields}.items()]
    return f"{{{', '.join(parts)}}}".encode()


@pytest.mark.parametrize(
    "fields",
    [
        {"metrics": json.dumps({"predict_time": 1.5, "trace": LARGE})},
        {"metrics": json.dumps({f"metric_{number}": number for number in range(40_000)})},
        {"metrics": '{"predict_time": 1e400, "list": [-1e999, NaN]}'},
        {"metrics": DEEP.replace("[", '{"a":').replace("]", "}")},
        {"model": json.dumps(LARGE)},
        {"version": json.dumps(WIDE)},
        {"error": json.dumps(WIDE)},
        {"error": json.dumps({"detail": LARGE})},
        {"logs": json.dumps(WIDE)},
        {"output": json.dumps(LARGE)},
        {"output": "9" * 5000},
        {"output": "[1e400, -1e999, NaN, Infinity]"},
        {"output": DEEP},
        {"output": "[" * 100_000 + "]" * 100_000},
        {"output": '"\\ud800"'},
        {"input": DEEP},
        {"started_at": json.dumps(LARGE)},
        {"urls": json.dumps({"get": LARGE})},
    ],
    ids=lambda fields: "-".join(f"{name}-{text[:20]}" for name, text in fields.items()),
)
def test_job_succeeds_whatever_a_field_holds(pipeline: Pipeline, fields: dict[str, str]) -> None:
    job, prediction_id = submit_job(pipeline)

    end_by_webhook(pipeline, prediction_id, make_body(prediction_id, **fields))

    stored = pipeline.get_job(job)
    assert stored.status is JobStatus.SUCCEEDED
    assert pipeline.dead_letters == []
    json.dumps(PredictionRenderer(pipeline.documents).render(stored), allow_nan=False).encode()


def test_metrics_keep_their_numbers_when_they_are_too_long(pipeline: Pipeline) -> None:
    job, prediction_id = submit_job(pipeline)
    metrics = {"trace": LARGE, "predict_time": 1.5, "image_count": 2}

    end_by_webhook(pipeline, prediction_id, make_body(prediction_id, metrics=json.dumps(metrics)))

    assert pipeline.get_job(job).metrics == {"predict_time": 1.5, "image_count": 2}


def test_times_of_a_report_are_those_of_the_job(pipeline: Pipeline) -> None:
    job, prediction_id = submit_job(pipeline)
    started_at, completed_at = (pipeline.clock.now() + timedelta(seconds=seconds) for seconds in (1, 9))
    pipeline.clock.advance(60)

    times = {"started_at": started_at, "completed_at": completed_at}
    body = make_body(
        prediction_id, **{name: json.dumps(format_timestamp(moment)) for name, moment in times.items()}
    )
    end_by_webhook(pipeline, prediction_id, body)

    stored = pipeline.get_job(job)
    assert (stored.started_at, stored.completed_at) == (started_at, completed_at)


@pytest.mark.parametrize("text", [LARGE, WIDE])
@pytest.mark.parametrize("field", ["title", "detail"])
def test_job_fails_with_the_beginning_of_a_long_rejection(pipeline: Pipeline, field: str, text: str) -> None:
    texts: dict[str, Any] = {"title": "Rejected", "detail": "bad input", field: text}
    pipeline.replicate.faults.fail("create", error=RejectedError(422, texts["title"], texts["detail"]))
    job = pipeline.accept_job().job

    pipeline.drain_messages()

    stored = pipeline.get_job(job)
    assert stored.status is JobStatus.FAILED
    assert stored.error is not None
    assert text[:1000] in stored.error
    assert len(pipeline.replicate.predictions) == 0


@pytest.mark.parametrize("status", ["failed", "canceled"])
def test_job_ends_with_the_beginning_of_a_long_error(pipeline: Pipeline, status: str) -> None:
    job, prediction_id = submit_job(pipeline)
    pipeline.replicate.finish(prediction_id, status, error=WIDE)

    pipeline.send_webhook(prediction_id)
    pipeline.drain_messages()

    assert pipeline.get_job(job).status.value == status


def test_job_keeps_long_errors_of_all_its_attempts(pipeline: Pipeline) -> None:
    job = pipeline.accept_job().job
    for _ in range(2):
        pipeline.drain_messages()
        prediction_id = pipeline.get_job(job).replicate_id
        assert prediction_id is not None
        pipeline.replicate.finish(prediction_id, "failed", error=f"{WIDE[:3000]} (code: PA) {WIDE}")
        pipeline.send_webhook(prediction_id)
        pipeline.drain_messages()

    stored = pipeline.get_job(job)
    assert stored.status is JobStatus.FAILED
    assert len(stored.past_attempts) == 1


# Statuses that Replicate does not document


@pytest.mark.parametrize("status", ["queued", "booting", "timed_out", "SUCCEEDED", "unknown", LARGE])
def test_webhook_with_unknown_status_is_ignored(pipeline: Pipeline, status: str) -> None:
    job, prediction_id = submit_job(pipeline)
    before = pipeline.get_job(job)

    end_by_webhook(pipeline, prediction_id, make_body(prediction_id, status=json.dumps(status)))

    assert pipeline.get_job(job) == before
    assert pipeline.messages == []


@pytest.mark.parametrize(
    "end",
    [
        lambda pipeline, prediction_id: pipeline.send_webhook(prediction_id),
        lambda pipeline, _: pipeline.pass_time(1200),
    ],
    ids=["webhook", "poll"],
)
def test_job_ends_by_a_later_report_after_unknown_status(
    pipeline: Pipeline, end: Callable[[Pipeline, str], None]
) -> None:
    job, prediction_id = submit_job(pipeline)
    pipeline.replicate.finish(prediction_id, "booting", completed_at=None)
    pipeline.send_webhook(prediction_id)
    pipeline.pass_time(1200)
    waiting = pipeline.get_job(job)
    assert not waiting.is_terminal
    assert waiting.next_check_at is not None
    assert waiting.next_check_at > pipeline.clock.now()

    pipeline.replicate.finish(prediction_id)
    end(pipeline, prediction_id)
    pipeline.drain_messages()

    assert pipeline.get_job(job).status is JobStatus.SUCCEEDED


def test_job_fails_when_prediction_ends_with_unknown_status(pipeline: Pipeline) -> None:
    job, prediction_id = submit_job(pipeline)
    pipeline.replicate.finish(prediction_id, "timed_out")

    pipeline.pass_time(1200)

    stored = pipeline.get_job(job)
    assert stored.status is JobStatus.FAILED
    assert "timed_out" in (stored.error or "")


def test_prediction_with_unknown_status_is_found_in_the_list(pipeline: Pipeline) -> None:
    """A page that cannot be read because of one prediction would have the request sent, and paid, again."""
    pipeline.replicate.faults.fail("create_response", error=OutcomeUnknownError("reset"))
    job = pipeline.accept_job().job
    pipeline.drain_messages()
    (prediction_id,) = pipeline.replicate.predictions
    pipeline.replicate.finish(prediction_id, "booting", completed_at=None)

    pipeline.pass_time(600)

    assert pipeline.get_job(job).replicate_id == prediction_id
    assert len(pipeline.replicate.predictions) == 1


# Times


@pytest.mark.parametrize(
    "time",
    [
        '"9999-12-31T23:59:59-12:00"',
        '"0001-01-01T00:00:00+12:00"',
        '"9999-12-31T23:59:59Z"',
        '"0001-01-01T00:00:00Z"',
        '"1970-01-01T00:00:00Z"',
        '"soon"',
        "1e400",
        "{}",
    ],
)
def test_wrong_times_stop_neither_job_nor_harvest(pipeline: Pipeline, time: str) -> None:
    job, prediction_id = submit_job(pipeline)
    pipeline.output_harvester.faults.fail("harvest", times=2)
    pipeline.clock.advance(60)

    end_by_webhook(pipeline, prediction_id, make_body(prediction_id, completed_at=time, started_at=time))
    assert pipeline.get_job(job).status is JobStatus.HARVESTING
    pipeline.pass_time(600)

    stored = pipeline.get_job(job)
    assert stored.status is JobStatus.SUCCEEDED
    assert stored.started_at is None
    assert stored.completed_at == pipeline.started_at + timedelta(seconds=60)
    assert pipeline.documents.load(stored.output) == [f"https://outputs.test/{job.id}.webp"]


def test_harvest_ends_when_completion_is_in_the_future(pipeline: Pipeline) -> None:
    job, prediction_id = submit_job(pipeline)
    pipeline.output_harvester.faults.fail("harvest", times=1000)

    end_by_webhook(pipeline, prediction_id, make_body(prediction_id, completed_at='"9999-12-31T23:59:59Z"'))
    pipeline.pass_time(3 * 3600)

    assert pipeline.get_job(job).status is JobStatus.SUCCEEDED
