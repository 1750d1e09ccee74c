"""Idempotency keys and documents: the same promises in memory and on AWS; queue and bus on AWS."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from moto import mock_aws

from replicate_proxy.aws.document_store import S3DocumentStore
from replicate_proxy.aws.event_bus import EventBridgeBus
from replicate_proxy.aws.idempotency_store import DynamoIdempotencyStore
from replicate_proxy.aws.queues import SqsCommandQueue, SqsHarvestQueue
from replicate_proxy.contracts.commands import DispatchCommand, DispatchKind
from replicate_proxy.contracts.events import Event, EventName, EventSource, PredictionReport
from replicate_proxy.errors import NotFoundError, RetryableError
from replicate_proxy.jobs.model import Document, ReportChannel
from replicate_proxy.ports import DocumentStore, IdempotencyRecord, IdempotencyStore
from tests.support.aws import JOBS_TABLE, create_jobs_table
from tests.support.clock import NOW
from tests.support.fakes import FakeDocumentStore, FakeIdempotencyStore

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMAND = DispatchCommand(DispatchKind.SUBMIT, "acme", "a" * 26, "c-1")


@pytest.fixture(autouse=True)
def aws() -> Iterator[None]:
    with mock_aws():
        yield


@pytest.fixture(params=["memory", "aws"])
def keys(request: pytest.FixtureRequest) -> IdempotencyStore:
    if request.param == "memory":
        return FakeIdempotencyStore()
    dynamodb = boto3.client("dynamodb")
    create_jobs_table(dynamodb)
    return DynamoIdempotencyStore(dynamodb, JOBS_TABLE)


@pytest.fixture(params=["memory", "aws"])
def documents(request: pytest.FixtureRequest) -> DocumentStore:
    if request.param == "memory":
        return FakeDocumentStore()
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket="images")
    return S3DocumentStore(s3, "images")


def record(job_id: str = "job-1", **fields: str) -> IdempotencyRecord:
    return IdempotencyRecord(**{"tenant": "acme", "key": "k", "fingerprint": "f", "job_id": job_id, **fields})


def test_the_first_claim_holds_the_key(keys: IdempotencyStore) -> None:
    first = record()
    assert keys.claim(first, now=NOW) == first
    assert keys.claim(record("job-2", fingerprint="g"), now=NOW) == first


def test_keys_of_tenants_are_apart(keys: IdempotencyStore) -> None:
    keys.claim(record(), now=NOW)
    other = record("job-2", tenant="other")
    assert keys.claim(other, now=NOW) == other


def test_a_claim_lasts_a_day(keys: IdempotencyStore) -> None:
    keys.claim(record(), now=NOW)
    second = record("job-2")
    assert keys.claim(second, now=NOW + timedelta(hours=23, minutes=59)).job_id == "job-1"
    assert keys.claim(second, now=NOW + timedelta(hours=24)) == second


@pytest.mark.parametrize("value", [None, "", 0, [], {"": {"a": [1.5, "ü🙂"]}}, "x" * 4094, "x" * 5000])
def test_a_document_comes_back_as_it_was(documents: DocumentStore, value: Any) -> None:
    kept = documents.save("acme", "job-1", "output", value)
    assert documents.load(kept) == value
    assert (kept.object_key is None) == (len(json.dumps(value)) <= 4096)


def test_a_large_document_lies_under_the_jobs_own_key(documents: DocumentStore) -> None:
    kept = documents.save("acme", "job-1", "output", "x" * 5000)
    assert kept.object_key == "records/acme/job-1/output.json"


def test_no_document_is_none(documents: DocumentStore) -> None:
    assert documents.load(None) is None


def test_a_document_that_is_gone_is_said_so(documents: DocumentStore) -> None:
    with pytest.raises(NotFoundError):
        documents.load(Document(object_key="records/acme/job-1/gone.json"))


def test_commands_arrive_in_their_form_with_delay_and_tenant() -> None:
    sqs = boto3.client("sqs")
    url = sqs.create_queue(QueueName="dispatch")["QueueUrl"]
    SqsCommandQueue(sqs, url).send(COMMAND)
    (message,) = sqs.receive_message(QueueUrl=url, AttributeNames=["All"])["Messages"]
    assert DispatchCommand.from_json(message["Body"]) == COMMAND


@pytest.mark.parametrize(("asked", "sent"), [(0, 0), (-3, 0), (0.2, 1), (59.5, 60), (5000, 900)])
def test_delays_are_whole_seconds_that_sqs_takes(asked: float, sent: int) -> None:
    class Sqs:
        def send_message(self, **given: Any) -> None:
            self.given = given

    sqs = Sqs()
    SqsCommandQueue(sqs, "url").send(COMMAND, delay_seconds=asked)
    assert (sqs.given["DelaySeconds"], sqs.given["MessageGroupId"]) == (sent, "acme")


def make_event(number: int = 0) -> Event:
    report = PredictionReport(
        tenant="acme",
        job_id=f"job-{number}",
        attempt=1,
        status="succeeded",
        channel=ReportChannel.POLL,
        received_at=NOW,
        prediction={"id": "p1", "logs": "ü🙂"},
        correlation_id="c-1",
    )
    return Event.create(
        EventName.PREDICTION_COMPLETED,
        EventSource.UPSTREAM,
        correlation_id="c-1",
        now=NOW,
        data=report.to_data(),
    )


def test_a_further_harvest_looks_like_what_the_rule_delivers() -> None:
    sqs = boto3.client("sqs")
    url = sqs.create_queue(QueueName="harvest")["QueueUrl"]
    SqsHarvestQueue(sqs, url).send(make_event(), tenant="acme")
    (message,) = sqs.receive_message(QueueUrl=url)["Messages"]
    report = PredictionReport.from_queue_message(message["Body"])
    assert (report.job_id, report.correlation_id) == ("job-0", "c-1")
    assert report.prediction == {"id": "p1", "logs": "ü🙂"}


class Events:
    """EventBridge that refuses the entries of some jobs."""

    def __init__(self, refused: frozenset[str] = frozenset()) -> None:
        self.refused, self.calls = refused, 0
        self.taken: list[dict[str, Any]] = []

    def put_events(self, *, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803 - AWS's name
        assert len(Entries) <= 10
        self.calls += 1
        replies: list[dict[str, str]] = []
        for entry in Entries:
            bad = json.loads(entry["Detail"])["data"]["job_id"] in self.refused
            replies.append({"ErrorCode": "ThrottlingException"} if bad else {"EventId": "1"})
            self.taken += [] if bad else [entry]
        return {"FailedEntryCount": sum("ErrorCode" in reply for reply in replies), "Entries": replies}


def test_events_are_put_in_tens() -> None:
    events = Events()
    EventBridgeBus(events, "bus").publish([make_event(number) for number in range(23)])
    assert (events.calls, len(events.taken)) == (3, 23)
    assert {(entry["EventBusName"], entry["Source"], entry["DetailType"]) for entry in events.taken} == {
        ("bus", "replicate-proxy.upstream", "PredictionCompleted")
    }


def test_one_event_that_is_not_taken_is_an_error() -> None:
    with pytest.raises(RetryableError):
        EventBridgeBus(Events(frozenset({"job-1"})), "bus").publish([make_event(0), make_event(1)])


@pytest.mark.parametrize(
    "error",
    [
        ClientError({"Error": {"Code": "ThrottlingException"}}, "x"),
        EndpointConnectionError(endpoint_url="https://aws.test"),
    ],
)
def test_aws_errors_become_retryable(error: Exception) -> None:
    class Broken:
        def __getattr__(self, name: str) -> Any:
            def fail(**_: Any) -> None:
                raise error

            return fail

    with pytest.raises(RetryableError):
        SqsCommandQueue(Broken(), "url").send(COMMAND)
    with pytest.raises(RetryableError):
        EventBridgeBus(Broken(), "bus").publish([make_event()])
    with pytest.raises(RetryableError):
        S3DocumentStore(Broken(), "images").save("acme", "job-1", "output", "x" * 5000)
    with pytest.raises(RetryableError):
        S3DocumentStore(Broken(), "images").load(Document(object_key="key"))
