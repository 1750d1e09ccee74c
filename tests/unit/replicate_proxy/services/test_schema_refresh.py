"""How the schemas of models become known: by a message after the first job, or by what callers read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from replicate_proxy.contracts.commands import DispatchCommand, DispatchKind
from replicate_proxy.errors import RetryableError
from replicate_proxy.jobs.model import SHARED_ACCOUNT, Account, Job, JobStatus, Submission, SubmissionKind
from replicate_proxy.replicate_api.errors import BreakerOpenError, RejectedError
from replicate_proxy.replicate_api.response import UpstreamResponse
from replicate_proxy.services.dispatch import Dispatcher
from replicate_proxy.services.schema_refresh import SchemaRecorder, SchemaRefresher
from tests.support.builders import VERSION, make_job
from tests.support.pipeline import Pipeline
from tests.support.schemas import IMAGE_DOCUMENT, IMAGE_RULES, FakeSchemas

HEX = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"
VERSION_BODY = {"id": HEX, "openapi_schema": IMAGE_DOCUMENT}
MODEL = Submission(kind=SubmissionKind.MODEL, owner="acme", name="painter")
DEPLOYMENT = Submission(kind=SubmissionKind.DEPLOYMENT, owner="acme", name="prod")
BY_ID = Submission(kind=SubmissionKind.VERSION, version=HEX)
BY_NAME = Submission(kind=SubmissionKind.VERSION, version="acme/painter")


class FakeReader:
    """Returns or raises `outcome` for every path."""

    def __init__(self) -> None:
        self.outcome: Any = VERSION_BODY
        self.status = 200
        self.paths: list[str] = []

    def read(self, path: str) -> UpstreamResponse:
        self.paths.append(path)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        body = self.outcome if isinstance(self.outcome, bytes) else json.dumps(self.outcome).encode()
        return UpstreamResponse(self.status, {}, body)


class FakeQueue:
    """Keeps commands; fails if `is_broken`."""

    def __init__(self) -> None:
        self.commands: list[DispatchCommand] = []
        self.is_broken = False

    def send(self, command: DispatchCommand, *, delay_seconds: float = 0) -> None:
        if self.is_broken:
            raise RetryableError("the queue is unavailable")
        self.commands.append(command)

    def send_all(self, commands: Sequence[DispatchCommand]) -> None:
        raise NotImplementedError


@pytest.fixture
def reader() -> FakeReader:
    return FakeReader()


@pytest.fixture
def queue() -> FakeQueue:
    return FakeQueue()


@pytest.fixture
def schemas() -> FakeSchemas:
    return FakeSchemas()


@pytest.fixture
def refresher(schemas: FakeSchemas, reader: FakeReader, queue: FakeQueue) -> SchemaRefresher:
    return SchemaRefresher(schemas, lambda _: reader, queue)


def make_accepted(submission: Submission, **fields: Any) -> Job:
    return replace(make_job(JobStatus.SUBMITTED, submission=submission), **fields)


@pytest.mark.parametrize(
    ("job", "target", "path"),
    [
        (
            make_accepted(BY_ID, model="acme/painter", version=HEX),
            f"versions/{HEX}",
            f"/v1/models/acme/painter/versions/{HEX}",
        ),
        (make_accepted(MODEL, version="hidden"), "models/acme/painter", "/v1/models/acme/painter"),
        (
            make_accepted(MODEL, model="replicate-internal/x", version="hidden"),
            "models/acme/painter",
            "/v1/models/acme/painter",
        ),
        (
            make_accepted(BY_NAME, model="acme/painter", version=HEX),
            "models/acme/painter",
            f"/v1/models/acme/painter/versions/{HEX}",
        ),
        (
            make_accepted(DEPLOYMENT, model="acme/painter", version=HEX),
            "deployments/acme/prod",
            f"/v1/models/acme/painter/versions/{HEX}",
        ),
    ],
)
def test_schema_of_what_ran_is_recorded_for_what_was_named(
    refresher: SchemaRefresher, schemas: FakeSchemas, reader: FakeReader, job: Job, target: str, path: str
) -> None:
    if "versions" not in path:
        reader.outcome = {"latest_version": VERSION_BODY}

    refresher.refresh(job)

    assert reader.paths == [path]
    assert schemas.recorded == {target: IMAGE_RULES}


@pytest.mark.parametrize("model", [None, "", "painter", "../account", "a/b/c", "acme/.."])
def test_nothing_is_read_where_the_model_is_not_known(
    refresher: SchemaRefresher, reader: FakeReader, model: str | None
) -> None:
    refresher.refresh(make_accepted(BY_ID, model=model, version=HEX))

    assert reader.paths == []


def test_schema_that_is_claimed_is_not_read(
    refresher: SchemaRefresher, schemas: FakeSchemas, reader: FakeReader
) -> None:
    schemas.record("models/acme/painter", None)

    refresher.refresh(make_accepted(MODEL))

    assert reader.paths == []


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (BreakerOpenError("the circuit breaker is open", retry_after=5), 200),
        (RetryableError("the read limit is used up"), 200),
        ({"detail": "not found"}, 404),
        (b"<html>", 200),
        (b"[" * 100_000, 200),
    ],
    ids=["breaker", "limit", "404", "html", "deep"],
)
def test_schema_that_cannot_be_read_is_left_to_a_later_job(
    refresher: SchemaRefresher, schemas: FakeSchemas, reader: FakeReader, outcome: Any, status: int
) -> None:
    reader.outcome, reader.status = outcome, status

    refresher.refresh(make_accepted(MODEL))

    assert schemas.recorded == {}


@pytest.mark.parametrize("outcome", [None, [], {"latest_version": None}, {"latest_version": {}}, {}])
def test_model_without_a_schema_is_recorded(
    refresher: SchemaRefresher, schemas: FakeSchemas, reader: FakeReader, outcome: Any
) -> None:
    reader.outcome = outcome

    refresher.refresh(make_accepted(MODEL))

    assert schemas.recorded in ({"models/acme/painter": None}, {})
    assert (schemas.recorded == {}) == (outcome is None)


def test_failed_request_for_a_schema_does_not_fail_the_job(
    refresher: SchemaRefresher, queue: FakeQueue
) -> None:
    queue.is_broken = True

    refresher.request(make_accepted(MODEL))


def build_dispatcher(pipeline: Pipeline, refresher: SchemaRefresher) -> Dispatcher:
    return Dispatcher(
        updater=pipeline.updater,
        documents=pipeline.documents,
        queue=pipeline.queue,
        get_client=lambda _: pipeline.replicate,
        urls=pipeline.urls,
        clock=pipeline.clock,
        timeouts=pipeline.timeouts,
        schemas=refresher,
    )


def test_dispatch_asks_for_the_schema_once_the_job_is_accepted(
    refresher: SchemaRefresher, schemas: FakeSchemas, queue: FakeQueue, reader: FakeReader
) -> None:
    pipeline = Pipeline()
    dispatcher = build_dispatcher(pipeline, refresher)
    job = pipeline.put_job(submission=MODEL)

    dispatcher.handle_command(DispatchCommand.for_job(DispatchKind.SUBMIT, job))

    assert pipeline.get_job(job).status is JobStatus.SUBMITTED
    assert reader.paths == []
    [command] = queue.commands
    assert DispatchCommand.from_json(command.to_json()).kind is DispatchKind.SCHEMA
    reader.outcome = {"latest_version": VERSION_BODY}

    dispatcher.handle_command(command)

    assert schemas.recorded == {"models/acme/painter": IMAGE_RULES}
    second = pipeline.put_job(submission=MODEL, id="second")
    dispatcher.handle_command(DispatchCommand.for_job(DispatchKind.SUBMIT, second))
    assert len(queue.commands) == 1


def test_dispatch_asks_for_no_schema_where_validation_is_off(queue: FakeQueue) -> None:
    pipeline = Pipeline()
    job = pipeline.put_job(submission=MODEL)

    pipeline.dispatch_job(job)
    pipeline.dispatcher.handle_command(DispatchCommand.for_job(DispatchKind.SCHEMA, job))

    assert pipeline.get_job(job).status is JobStatus.SUBMITTED


def test_rejected_job_asks_for_no_schema(refresher: SchemaRefresher, queue: FakeQueue) -> None:
    pipeline = Pipeline()
    dispatcher = build_dispatcher(pipeline, refresher)
    rejection = RejectedError(422, "Input validation failed", "- input")
    pipeline.replicate.faults.fail("create", error=rejection)

    dispatcher.handle_command(DispatchCommand.for_job(DispatchKind.SUBMIT, pipeline.put_job()))

    assert queue.commands == []


def test_schemas_that_callers_read_are_recorded_once(schemas: FakeSchemas) -> None:
    recorder = SchemaRecorder(schemas)
    body = json.dumps({"latest_version": VERSION_BODY}).encode()

    recorder.record_model("acme/painter", body, SHARED_ACCOUNT)
    recorder.record_model("acme/painter", b"{}", SHARED_ACCOUNT)
    recorder.record_version(VERSION, json.dumps(VERSION_BODY).encode(), SHARED_ACCOUNT)
    recorder.record_version(HEX, b"<html>", SHARED_ACCOUNT)

    assert schemas.recorded == {"models/acme/painter": IMAGE_RULES, f"versions/{VERSION}": IMAGE_RULES}


def test_schema_that_a_tenants_account_shows_is_recorded_for_it_alone(schemas: FakeSchemas) -> None:
    body = json.dumps({"latest_version": VERSION_BODY}).encode()
    SchemaRecorder(schemas).record_model("acme/private", body, Account("acme", "own"))
    assert schemas.recorded == {"models/acme/private@acme/own": IMAGE_RULES}
