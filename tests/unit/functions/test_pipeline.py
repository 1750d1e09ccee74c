"""The handlers of the pipeline: sample events in, the service's work done, only failed messages returned."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from functions.dispatch import app as dispatch_app
from functions.harvest import app as harvest_app
from functions.ingest import app as ingest_app
from functions.query import app as query_app
from functions.track import app as track_app
from replicate_proxy.jobs.model import JobStatus
from tests.support.builders import make_job
from tests.support.handlers import LambdaContext, load_event
from tests.support.pipeline import Pipeline
from tests.support.prediction_api import PredictionApi

if TYPE_CHECKING:
    from types import ModuleType


class Context(LambdaContext):
    """A context with five minutes left."""

    def get_remaining_time_in_millis(self) -> int:
        return 300_000


CONTEXT: Any = Context()


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    pipeline = Pipeline()
    monkeypatch.setattr(dispatch_app, "build_dispatcher", lambda: pipeline.dispatcher)
    monkeypatch.setattr(track_app, "build_tracker", lambda: pipeline.tracker)
    for app in (track_app, harvest_app):
        monkeypatch.setattr(app, "build_report_loader", lambda: pipeline.report_loader)
    monkeypatch.setattr(harvest_app, "build_harvester", lambda: pipeline.harvester)
    monkeypatch.setattr(harvest_app, "clock", pipeline.clock)
    return pipeline


def store_job(event: dict[str, Any], pipeline: Pipeline, status: JobStatus, **fields: Any) -> Any:
    """Store and return the job that the event's first message is about."""
    body = json.loads(event["Records"][0]["body"])
    data = body["detail"]["data"] if "detail" in body else body
    prediction = data.get("prediction") or {}
    if status is not JobStatus.QUEUED:
        fields.setdefault("replicate_id", prediction.get("id", "p1"))
    job = make_job(status, id=data["job_id"], tenant=data["tenant"], attempt=data.get("attempt", 1), **fields)
    return pipeline.store.put(job)


def invoke(app: ModuleType, event: dict[str, Any]) -> list[str]:
    """Return the IDs of the messages that go back to the queue."""
    response = app.lambda_handler(event, CONTEXT)
    return [entry["itemIdentifier"] for entry in response["batchItemFailures"]]


def test_dispatch_submits_job(pipeline: Pipeline) -> None:
    event = load_event("dispatch/submit")
    job = store_job(event, pipeline, JobStatus.QUEUED)
    assert invoke(dispatch_app, event) == []
    assert pipeline.get_job(job).status is JobStatus.SUBMITTED


def test_dispatch_cancels_job(pipeline: Pipeline) -> None:
    event = load_event("dispatch/cancel")
    pipeline.accept_job()
    pipeline.drain_messages()
    job = store_job(event, pipeline, JobStatus.SUBMITTED, cancel_requested_at=pipeline.clock.now())
    assert invoke(dispatch_app, event) == []
    assert pipeline.get_job(job).status is JobStatus.CANCELED


def test_dispatch_returns_only_the_malformed_message(pipeline: Pipeline) -> None:
    event = load_event("dispatch/batch_with_poison")
    job = store_job(event, pipeline, JobStatus.QUEUED)
    failed = invoke(dispatch_app, event)
    assert len(failed) < len(event["Records"])
    assert failed
    assert pipeline.get_job(job).status is JobStatus.SUBMITTED


@pytest.mark.parametrize(
    ("app", "name"), [(dispatch_app, "dispatch"), (track_app, "track"), (harvest_app, "harvest")]
)
def test_malformed_message_is_returned_to_the_queue(pipeline: Pipeline, app: ModuleType, name: str) -> None:
    event = load_event(f"{name}/poison")
    assert invoke(app, event) == [record["messageId"] for record in event["Records"]]


def test_message_about_unknown_job_is_dropped(pipeline: Pipeline) -> None:
    assert invoke(dispatch_app, load_event("dispatch/unknown_job")) == []
    assert invoke(track_app, load_event("track/failed")) == []


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("started", JobStatus.SUBMITTED),
        # A transient failure at Replicate starts a new attempt.
        ("failed", JobStatus.QUEUED),
        ("canceled", JobStatus.CANCELED),
        ("aborted", JobStatus.CANCELED),
    ],
)
def test_track_applies_report(pipeline: Pipeline, name: str, status: JobStatus) -> None:
    event = load_event(f"track/{name}")
    # A poll is about a prediction that the job knows; a callback may be the first that the job hears of it.
    is_poll = '"channel": "poll"' in event["Records"][0]["body"]
    fields = {} if is_poll else {"replicate_id": None}
    before = JobStatus.SUBMITTED if is_poll else JobStatus.SUBMIT_UNKNOWN
    job = store_job(event, pipeline, before, **fields)
    assert invoke(track_app, event) == []
    assert pipeline.get_job(job).status is status


def test_track_handles_messages_in_any_order(pipeline: Pipeline) -> None:
    event = load_event("track/batch_out_of_order")
    job = store_job(event, pipeline, JobStatus.SUBMITTED)
    assert invoke(track_app, event) == []
    ended = pipeline.get_job(job)
    assert invoke(track_app, {"Records": event["Records"][::-1]}) == []
    assert pipeline.get_job(job) == ended


@pytest.mark.parametrize("name", ["completed", "completed_nested", "completed_text", "forbidden_host"])
def test_harvest_finishes_job(pipeline: Pipeline, name: str) -> None:
    event = load_event(f"harvest/{name}")
    job = store_job(event, pipeline, JobStatus.PROCESSING)
    assert invoke(harvest_app, event) == []
    assert pipeline.get_job(job).status is JobStatus.SUCCEEDED


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("create", 201),
        ("create_base64", 201),
        ("create_plain", 201),
        ("create_plain_by_model", 201),
        ("create_for_model", 201),
        ("create_for_deployment", 201),
        ("create_idempotent", 201),
        ("create_and_wait", 202),
        ("create_invalid_json", 400),
        ("create_invalid_utf8", 400),
        ("create_deeply_nested", 422),
        ("create_unknown_field", 422),
        ("create_wrong_types", 422),
        ("create_unsafe_webhook", 422),
        ("create_unauthenticated", 401),
        ("create_batch_invalid_entries", 422),
        ("cancel_other_tenant", 404),
        ("cancel_batch_other_tenant", 404),
    ],
)
def test_ingest_returns_status(monkeypatch: pytest.MonkeyPatch, name: str, status: int) -> None:
    api = PredictionApi()
    monkeypatch.setattr(ingest_app, "build_router", lambda: api.writes)
    response = ingest_app.lambda_handler(load_event(f"ingest/{name}"), CONTEXT)
    assert response["statusCode"] == status, response["body"]
    assert len(api.pipeline.store.jobs) == (1 if status < 300 else 0)


def test_ingest_creates_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    api = PredictionApi()
    monkeypatch.setattr(ingest_app, "build_router", lambda: api.writes)
    response = ingest_app.lambda_handler(load_event("ingest/create_batch"), CONTEXT)
    assert response["statusCode"] == 201, response["body"]
    assert len(api.pipeline.store.jobs) == 3


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("get_other_tenant", 404),
        ("get_batch_other_tenant", 404),
        ("get_plain_without_id", 400),
        ("health", 200),
        ("list", 200),
        ("list_by_time", 200),
        ("list_invalid_cursor", 400),
    ],
)
def test_query_returns_status(monkeypatch: pytest.MonkeyPatch, name: str, status: int) -> None:
    monkeypatch.setattr(query_app, "build_router", lambda: PredictionApi().reads)
    assert query_app.lambda_handler(load_event(f"query/{name}"), CONTEXT)["statusCode"] == status
