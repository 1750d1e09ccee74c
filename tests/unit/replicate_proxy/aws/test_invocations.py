"""Redrive of dead letters that are failed Lambda invocations."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from botocore.exceptions import ReadTimeoutError

from replicate_proxy.aws.invocations import AsyncInvocation, FailedInvocations, parse_invocation
from replicate_proxy.errors import PermanentError, RetryableError
from replicate_proxy.operations.dead_letters import (
    DeadLetter,
    DeadLetterFilter,
    DeadLetterQueue,
    DeadLetterService,
)
from tests.support.admin_fakes import FakeQueueClient
from tests.support.audit import NoAuditLog
from tests.support.aws import make_client_error
from tests.support.clock import NOW, FakeClock

SWEEP_ARN = "arn:aws:lambda:eu-central-1:1:function:sweep"
NOTIFY_ARN = "arn:aws:lambda:eu-central-1:1:function:notify"
SCHEDULE_EVENT = {"source": "aws.scheduler", "detail": {}}
BATCH = {"shardId": "s-1", "startSequenceNumber": "1", "endSequenceNumber": "3", "streamArn": "arn:stream"}


def make_message(body: Any, *, number: int = 1, target_arn: str | None = None) -> DeadLetter:
    text = body if isinstance(body, str) else json.dumps(body)
    return DeadLetter(
        id=f"m{number}",
        receipt_handle="r",
        body=text,
        sent_at=NOW,
        receive_count=1,
        target_arn=target_arn,
    )


def make_failed_run(number: int = 1) -> DeadLetter:
    """Return the record of a failed asynchronous invocation."""
    context = {"functionArn": SWEEP_ARN, "condition": "RetriesExhausted"}
    return make_message({"requestContext": context, "requestPayload": SCHEDULE_EVENT}, number=number)


def make_failed_batch(number: int = 1) -> DeadLetter:
    """Return the record of a failed batch of the stream."""
    body = {"requestContext": {"functionArn": NOTIFY_ARN}, "DDBStreamBatchInfo": BATCH}
    return make_message(body, number=number)


@dataclass
class FakeLambda:
    """Records invocations; raises `error`, or reports that the function failed."""

    error: Exception | None = None
    function_fails: bool = False
    invocations: list[tuple[str, str, Any]] = field(default_factory=list)

    def invoke(self, *, FunctionName: str, InvocationType: str, Payload: bytes) -> dict[str, Any]:  # noqa: N803 - boto3's names
        if self.error:
            raise self.error
        self.invocations.append((FunctionName, InvocationType, json.loads(Payload)))
        return {"FunctionError": "Unhandled"} if self.function_fails else {"StatusCode": 200}


def make_invocations(client: FakeLambda) -> FailedInvocations:
    return FailedInvocations(cast(Any, client))


def test_failed_run_is_invoked_with_its_payload() -> None:
    client = FakeLambda()
    make_invocations(client).retry(make_failed_run())
    assert client.invocations == [(SWEEP_ARN, "Event", SCHEDULE_EVENT)]


def test_undelivered_event_is_sent_to_its_target() -> None:
    client = FakeLambda()
    make_invocations(client).retry(make_message(SCHEDULE_EVENT, target_arn=SWEEP_ARN))
    assert client.invocations == [(SWEEP_ARN, "Event", SCHEDULE_EVENT)]


def test_failed_batch_is_invoked_synchronously_with_whole_record() -> None:
    client = FakeLambda()
    make_invocations(client).retry(make_failed_batch())
    ((function_arn, invocation_type, payload),) = client.invocations
    assert (function_arn, invocation_type) == (NOTIFY_ARN, "RequestResponse")
    assert payload["DDBStreamBatchInfo"] == BATCH


@pytest.mark.parametrize("body", ["", "{", "[]", "null", "{}", '{"requestContext": {}}'])
def test_other_message_is_not_an_invocation(body: str) -> None:
    with pytest.raises(PermanentError, match="not a failed invocation"):
        parse_invocation(make_message(body))


@pytest.mark.parametrize(
    "error",
    [
        make_client_error("TooManyRequestsException"),
        ReadTimeoutError(endpoint_url="lambda"),
    ],
)
def test_retry_is_retryable_when_invoke_fails(error: Exception) -> None:
    with pytest.raises(RetryableError, match="repeat invocation"):
        make_invocations(FakeLambda(error=error)).retry(make_failed_run())


def test_retry_is_retryable_when_function_fails_again() -> None:
    with pytest.raises(RetryableError, match="failed, too"):
        make_invocations(FakeLambda(function_fails=True)).retry(make_failed_batch())


def make_service(queues: FakeQueueClient, client: FakeLambda) -> DeadLetterService:
    queue = DeadLetterQueue("q/dead", retry=make_invocations(client).retry)
    return DeadLetterService(
        queues, {"sweep": queue}, clock=FakeClock(), sleep=lambda _: None, audit=NoAuditLog()
    )


def test_redrive_deletes_messages_whose_invocation_succeeds() -> None:
    queues = FakeQueueClient({"q/dead": [make_failed_run(1), make_failed_run(2)]})
    client = FakeLambda()
    result = make_service(queues, client).redrive("sweep", DeadLetterFilter(), limit=10, rate_per_second=100)
    assert (result.handled, result.skipped, queues.messages) == (2, 0, {"q/dead": []})
    assert len(client.invocations) == 2


def test_redrive_keeps_messages_whose_invocation_fails_or_is_unknown() -> None:
    failed_batch, other = make_failed_batch(1), make_message("{}", number=2)
    queues = FakeQueueClient({"q/dead": [failed_batch, other]})
    service = make_service(queues, FakeLambda(function_fails=True))
    result = service.redrive("sweep", DeadLetterFilter(), limit=10, rate_per_second=100)
    assert (result.handled, result.skipped) == (0, 2)
    assert (queues.messages, queues.hidden_ids) == ({"q/dead": [failed_batch, other]}, set())


def test_worker_is_invoked_without_waiting() -> None:
    client = FakeLambda()
    AsyncInvocation(cast(Any, client), "proxy-admin", {"task": "work"}).start()
    assert client.invocations == [("proxy-admin", "Event", {"task": "work"})]


def test_start_of_worker_is_retryable_when_invoke_fails() -> None:
    client = FakeLambda(error=make_client_error("TooManyRequestsException"))
    with pytest.raises(RetryableError):
        AsyncInvocation(cast(Any, client), "proxy-admin", {}).start()
