"""The handlers of the pipeline: sample event in, service's work done, and only the bad message back."""

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
from tests.support.world import World
from tests.unit.replicate_proxy.api.predictions.test_predictions import Api

if TYPE_CHECKING:
    from types import ModuleType

# A call may have nothing to count.
pytestmark = pytest.mark.filterwarnings("ignore:No application metrics to publish")


class Context(LambdaContext):
    """One that also says how much time is left."""

    def get_remaining_time_in_millis(self) -> int:
        return 300_000


CONTEXT: Any = Context()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    monkeypatch.setattr(dispatch_app, "build_dispatcher", lambda: world.dispatcher)
    monkeypatch.setattr(track_app, "build_tracker", lambda: world.tracker)
    for app in (track_app, harvest_app):
        monkeypatch.setattr(app, "build_report_loader", lambda: world.report_loader)
    monkeypatch.setattr(harvest_app, "build_harvester", lambda: world.harvester)
    monkeypatch.setattr(harvest_app, "clock", world.clock)
    return world


def job_of(event: dict[str, Any], world: World, status: JobStatus, **fields: Any) -> Any:
    """The job that the event's first message is about."""
    body = json.loads(event["Records"][0]["body"])
    data = body["detail"]["data"] if "detail" in body else body
    prediction = data.get("prediction") or {}
    if status is not JobStatus.QUEUED:
        fields.setdefault("replicate_id", prediction.get("id", "p1"))
    job = make_job(status, id=data["job_id"], tenant=data["tenant"], attempt=data.get("attempt", 1), **fields)
    return world.store.put(job)


def call(app: ModuleType, event: dict[str, Any]) -> list[str]:
    """The messages that go back to the queue."""
    reply = app.lambda_handler(event, CONTEXT)
    return [entry["itemIdentifier"] for entry in reply["batchItemFailures"]]


def test_dispatch_submits(world: World) -> None:
    event = load_event("dispatch/submit")
    job = job_of(event, world, JobStatus.QUEUED)
    assert call(dispatch_app, event) == []
    assert world.get_job(job).status is JobStatus.SUBMITTED


def test_dispatch_cancels(world: World) -> None:
    event = load_event("dispatch/cancel")
    world.accept_job()
    world.drain_messages()
    job = job_of(event, world, JobStatus.SUBMITTED, cancel_requested_at=world.clock.now())
    assert call(dispatch_app, event) == []
    assert world.get_job(job).status is JobStatus.CANCELED


def test_a_poisonous_message_goes_back_alone(world: World) -> None:
    event = load_event("dispatch/batch_with_poison")
    job = job_of(event, world, JobStatus.QUEUED)
    failed = call(dispatch_app, event)
    assert len(failed) < len(event["Records"])
    assert failed
    assert world.get_job(job).status is JobStatus.SUBMITTED


@pytest.mark.parametrize(
    ("app", "name"), [(dispatch_app, "dispatch"), (track_app, "track"), (harvest_app, "harvest")]
)
def test_poison_goes_back_to_end_as_a_dead_letter(world: World, app: ModuleType, name: str) -> None:
    event = load_event(f"{name}/poison")
    assert call(app, event) == [record["messageId"] for record in event["Records"]]


def test_a_message_about_a_job_that_is_gone_is_done(world: World) -> None:
    assert call(dispatch_app, load_event("dispatch/unknown_job")) == []
    assert call(track_app, load_event("track/failed")) == []


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("started", JobStatus.SUBMITTED),
        # A failure of Replicate's own: one fresh attempt.
        ("failed", JobStatus.QUEUED),
        ("canceled", JobStatus.CANCELED),
        ("aborted", JobStatus.CANCELED),
    ],
)
def test_track_applies_the_news(world: World, name: str, status: JobStatus) -> None:
    event = load_event(f"track/{name}")
    job = job_of(event, world, JobStatus.SUBMIT_UNKNOWN, replicate_id=None)
    assert call(track_app, event) == []
    assert world.get_job(job).status is status


def test_track_takes_a_batch_in_any_order(world: World) -> None:
    event = load_event("track/batch_out_of_order")
    job = job_of(event, world, JobStatus.SUBMITTED)
    assert call(track_app, event) == []
    ended = world.get_job(job)
    assert call(track_app, {"Records": event["Records"][::-1]}) == []
    assert world.get_job(job) == ended


@pytest.mark.parametrize("name", ["completed", "completed_nested", "completed_text", "foreign_host"])
def test_harvest_finishes_the_job(world: World, name: str) -> None:
    event = load_event(f"harvest/{name}")
    job = job_of(event, world, JobStatus.PROCESSING)
    assert call(harvest_app, event) == []
    assert world.get_job(job).status is JobStatus.SUCCEEDED


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
        ("create_broken_json", 400),
        ("create_invalid_utf8", 400),
        ("create_deeply_nested", 422),
        ("create_unknown_field", 422),
        ("create_wrong_types", 422),
        ("create_unsafe_webhook", 422),
        ("create_without_caller", 401),
        ("create_batch_wrong_entries", 422),
        ("cancel_foreign", 404),
        ("cancel_batch_foreign", 404),
    ],
)
def test_ingest_answers(monkeypatch: pytest.MonkeyPatch, name: str, status: int) -> None:
    api = Api()
    monkeypatch.setattr(ingest_app, "routes", lambda: api.writes)
    response = ingest_app.lambda_handler(load_event(f"ingest/{name}"), CONTEXT)
    assert response["statusCode"] == status, response["body"]
    assert len(api.world.store.jobs) == (1 if status < 300 else 0)


def test_ingest_takes_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    api = Api()
    monkeypatch.setattr(ingest_app, "routes", lambda: api.writes)
    response = ingest_app.lambda_handler(load_event("ingest/create_batch"), CONTEXT)
    assert response["statusCode"] == 201, response["body"]
    assert len(api.world.store.jobs) == 3


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("get_foreign", 404),
        ("get_batch_foreign", 404),
        ("get_plain_without_id", 400),
        ("health", 200),
        ("list", 200),
        ("list_by_time", 200),
    ],
)
def test_query_answers(monkeypatch: pytest.MonkeyPatch, name: str, status: int) -> None:
    monkeypatch.setattr(query_app, "routes", lambda: Api().reads)
    assert query_app.lambda_handler(load_event(f"query/{name}"), CONTEXT)["statusCode"] == status
