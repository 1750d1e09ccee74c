"""The contracts of IdempotencyStore and DocumentStore; SQS queues and EventBridge."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast
from unittest.mock import Mock

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError
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
from tests.support.aws import (
    JOBS_TABLE,
    create_in_memory_aws,
    create_jobs_table,
    make_client_error,
    make_failing_client,
)
from tests.support.clock import NOW
from tests.support.fakes import FakeDocumentStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from types_boto3_sqs import SQSClient

COMMAND = DispatchCommand(DispatchKind.SUBMIT, "acme", "a" * 26, "c-1")


@pytest.fixture(autouse=True)
def aws() -> Iterator[None]:
    with mock_aws():
        yield


@pytest.fixture(params=["simulation", "moto"])
def idempotency_store(request: pytest.FixtureRequest) -> IdempotencyStore:
    if request.param == "simulation":
        return DynamoIdempotencyStore(create_in_memory_aws().client("dynamodb"), JOBS_TABLE)
    return DynamoIdempotencyStore(create_jobs_table(), JOBS_TABLE)


@pytest.fixture(params=["fake", "simulation", "moto"])
def documents(request: pytest.FixtureRequest) -> DocumentStore:
    if request.param == "fake":
        return FakeDocumentStore()
    if request.param == "simulation":
        in_memory_aws = create_in_memory_aws()
        in_memory_aws.s3.create_bucket("images")
        return S3DocumentStore(lambda: in_memory_aws.client("s3"), "images")
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket="images")
    return S3DocumentStore(lambda: s3, "images")


def make_record(reserved_id: str = "job-1", **fields: str) -> IdempotencyRecord:
    defaults = {"tenant": "acme", "key": "k", "fingerprint": "f"}
    return IdempotencyRecord(reserved_id=reserved_id, **{**defaults, **fields})


def test_first_claim_holds_the_key(idempotency_store: IdempotencyStore) -> None:
    first = make_record()
    assert idempotency_store.claim(first, now=NOW) == first
    assert idempotency_store.claim(make_record("job-2", fingerprint="g"), now=NOW) == first


def test_tenants_have_separate_keys(idempotency_store: IdempotencyStore) -> None:
    idempotency_store.claim(make_record(), now=NOW)
    other = make_record("job-2", tenant="other")
    assert idempotency_store.claim(other, now=NOW) == other


def test_holder_of_a_key_is_found_until_it_expires(idempotency_store: IdempotencyStore) -> None:
    assert idempotency_store.find("acme", "k", now=NOW) is None
    first = make_record()
    idempotency_store.claim(first, now=NOW)

    assert idempotency_store.find("acme", "k", now=NOW + timedelta(hours=23)) == first
    assert idempotency_store.find("other", "k", now=NOW) is None
    assert idempotency_store.find("acme", "k", now=NOW + timedelta(hours=24)) is None


def test_claim_expires_after_a_day(idempotency_store: IdempotencyStore) -> None:
    idempotency_store.claim(make_record(), now=NOW)
    second = make_record("job-2")
    assert idempotency_store.claim(second, now=NOW + timedelta(hours=23, minutes=59)).reserved_id == "job-1"
    assert idempotency_store.claim(second, now=NOW + timedelta(hours=24)) == second


@pytest.mark.parametrize("value", [None, "", 0, [], {"": {"a": [1.5, "ü🙂"]}}, "x" * 4094, "x" * 5000])
def test_saved_document_is_loaded_unchanged(documents: DocumentStore, value: Any) -> None:
    document = documents.save("acme", "job-1", "output", value)
    assert documents.load(document) == value
    assert (document.object_key is None) == (len(json.dumps(value)) <= 4096)


def test_large_document_is_stored_under_key_of_its_job(documents: DocumentStore) -> None:
    document = documents.save("acme", "job-1", "output", "x" * 5000)
    assert document.object_key == "records/acme/job-1/output.json"


def test_large_documents_are_equal_if_their_values_are(documents: DocumentStore) -> None:
    first, same, other = (documents.save("acme", "job-1", "logs", letter * 5000) for letter in "aab")
    assert first == same
    assert first != other
    assert first.object_key == other.object_key


def test_load_returns_none_for_no_document(documents: DocumentStore) -> None:
    assert documents.load(None) is None


def test_load_raises_not_found_when_object_is_missing(documents: DocumentStore) -> None:
    with pytest.raises(NotFoundError):
        documents.load(Document(object_key="records/acme/job-1/gone.json"))


@pytest.fixture(params=["simulation", "moto"])
def sqs_queue(request: pytest.FixtureRequest) -> tuple[SQSClient, str]:
    """A client and the URL of a queue."""
    if request.param == "simulation":
        in_memory_aws = create_in_memory_aws()
        return in_memory_aws.client("sqs"), in_memory_aws.sqs.create_queue("dispatch")
    sqs = boto3.client("sqs")
    return sqs, sqs.create_queue(QueueName="dispatch")["QueueUrl"]


def test_sent_command_is_received_unchanged(sqs_queue: tuple[SQSClient, str]) -> None:
    sqs, url = sqs_queue
    SqsCommandQueue(sqs, url).send(COMMAND)
    (message,) = sqs.receive_message(QueueUrl=url, AttributeNames=["All"])["Messages"]
    assert DispatchCommand.from_json(message["Body"]) == COMMAND


@pytest.mark.parametrize(
    ("delay_seconds", "sent_seconds"), [(0, 0), (-3, 0), (0.2, 1), (59.5, 60), (5000, 900)]
)
def test_delay_is_rounded_up_and_limited(delay_seconds: float, sent_seconds: int) -> None:
    sqs = Mock()
    SqsCommandQueue(sqs, "url").send(COMMAND, delay_seconds=delay_seconds)
    sqs.send_message.assert_called_once_with(
        QueueUrl="url", MessageBody=COMMAND.to_json(), MessageGroupId="acme", DelaySeconds=sent_seconds
    )


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


def test_harvest_event_is_parsed_like_one_from_the_bus(sqs_queue: tuple[SQSClient, str]) -> None:
    sqs, url = sqs_queue
    SqsHarvestQueue(sqs, url).send(make_event(), tenant="acme")
    (message,) = sqs.receive_message(QueueUrl=url)["Messages"]
    report = PredictionReport.from_queue_message(message["Body"])
    assert (report.job_id, report.correlation_id) == ("job-0", "c-1")
    assert report.prediction == {"id": "p1", "logs": "ü🙂"}


class FakeEventBridge:
    """EventBridge that rejects the entries of some jobs."""

    def __init__(self, rejected_jobs: frozenset[str] = frozenset()) -> None:
        self.rejected_jobs, self.calls = rejected_jobs, 0
        self.accepted: list[dict[str, Any]] = []

    def put_events(self, *, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803 - AWS's name
        assert len(Entries) <= 10
        self.calls += 1
        results: list[dict[str, str]] = []
        for entry in Entries:
            rejected = json.loads(entry["Detail"])["data"]["job_id"] in self.rejected_jobs
            results.append({"ErrorCode": "ThrottlingException"} if rejected else {"EventId": "1"})
            self.accepted += [] if rejected else [entry]
        return {"FailedEntryCount": sum("ErrorCode" in result for result in results), "Entries": results}


def test_events_are_published_in_tens() -> None:
    events = FakeEventBridge()
    EventBridgeBus(cast(Any, events), "bus").publish([make_event(number) for number in range(23)])
    assert (events.calls, len(events.accepted)) == (3, 23)
    assert {(entry["EventBusName"], entry["Source"], entry["DetailType"]) for entry in events.accepted} == {
        ("bus", "replicate-proxy.upstream", "PredictionCompleted")
    }


def test_publish_raises_retryable_error_when_an_event_is_rejected() -> None:
    events = cast(Any, FakeEventBridge(frozenset({"job-1"})))
    with pytest.raises(RetryableError):
        EventBridgeBus(events, "bus").publish([make_event(0), make_event(1)])


@pytest.mark.parametrize(
    "error",
    [make_client_error("ThrottlingException"), EndpointConnectionError(endpoint_url="https://aws.test")],
)
def test_aws_error_is_retryable(error: Exception) -> None:
    client = make_failing_client(error)
    with pytest.raises(RetryableError):
        SqsCommandQueue(client, "url").send(COMMAND)
    with pytest.raises(RetryableError):
        EventBridgeBus(client, "bus").publish([make_event()])
    with pytest.raises(RetryableError):
        S3DocumentStore(lambda: client, "images").save("acme", "job-1", "output", "x" * 5000)
    with pytest.raises(RetryableError):
        S3DocumentStore(lambda: client, "images").load(Document(object_key="key"))
