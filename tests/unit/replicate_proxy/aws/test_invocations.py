"""Letters that came from no queue: the failed invocation is made again, once it is clear which."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from replicate_proxy.aws.invocations import FailedInvocations, parse_invocation
from replicate_proxy.errors import PermanentError, RetryableError
from replicate_proxy.operations.dead_letters import (
    DeadLetter,
    DeadLetterFilter,
    DeadLetterQueue,
    DeadLetterService,
)
from tests.support.clock import NOW, FakeClock
from tests.unit.replicate_proxy.operations.conftest import FakeQueueClient

SWEEP = "arn:aws:lambda:eu-central-1:1:function:sweep"
NOTIFY = "arn:aws:lambda:eu-central-1:1:function:notify"
TICK = {"source": "aws.scheduler", "detail": {}}
BATCH = {"shardId": "s-1", "startSequenceNumber": "1", "endSequenceNumber": "3", "streamArn": "arn:stream"}


def letter(body: Any, *, number: int = 1, target: str | None = None) -> DeadLetter:
    text = body if isinstance(body, str) else json.dumps(body)
    return DeadLetter(
        id=f"m{number}", receipt_handle="r", body=text, sent_at=NOW, receive_count=1, target_arn=target
    )


def failed_run(number: int = 1) -> DeadLetter:
    """As an asynchronous invocation's on-failure destination gets it."""
    context = {"functionArn": SWEEP, "condition": "RetriesExhausted"}
    return letter({"requestContext": context, "requestPayload": TICK}, number=number)


def lost_batch(number: int = 1) -> DeadLetter:
    """As a stream's on-failure destination gets it."""
    return letter({"requestContext": {"functionArn": NOTIFY}, "DDBStreamBatchInfo": BATCH}, number=number)


@dataclass
class FakeLambda:
    """Remembers what ran; `refuses` is raised, `fails` is the function's own failure."""

    refuses: Exception | None = None
    fails: bool = False
    ran: list[tuple[str, str, Any]] = field(default_factory=list)

    def invoke(self, *, FunctionName: str, InvocationType: str, Payload: bytes) -> dict[str, Any]:  # noqa: N803 - boto3's names
        if self.refuses:
            raise self.refuses
        self.ran.append((FunctionName, InvocationType, json.loads(Payload)))
        return {"FunctionError": "Unhandled"} if self.fails else {"StatusCode": 200}


class TestWhich:
    def test_a_run_that_failed_is_made_again_with_its_own_payload(self) -> None:
        lambdas = FakeLambda()
        FailedInvocations(lambdas).retry(failed_run())
        assert lambdas.ran == [(SWEEP, "Event", TICK)]

    def test_an_event_that_no_function_took_goes_to_its_target(self) -> None:
        lambdas = FakeLambda()
        FailedInvocations(lambdas).retry(letter(TICK, target=SWEEP))
        assert lambdas.ran == [(SWEEP, "Event", TICK)]

    def test_a_lost_batch_goes_to_the_streams_consumer_whole_and_is_waited_for(self) -> None:
        lambdas = FakeLambda()
        FailedInvocations(lambdas).retry(lost_batch())
        ((function, how, payload),) = lambdas.ran
        assert (function, how, payload["DDBStreamBatchInfo"]) == (NOTIFY, "RequestResponse", BATCH)

    @pytest.mark.parametrize("body", ["", "{", "[]", "null", "{}", '{"requestContext": {}}'])
    def test_anything_else_is_no_invocation(self, body: str) -> None:
        with pytest.raises(PermanentError, match="not a failed invocation"):
            parse_invocation(letter(body))


class TestFailure:
    @pytest.mark.parametrize(
        "refuses",
        [
            ClientError({"Error": {"Code": "TooManyRequestsException"}}, "Invoke"),
            ReadTimeoutError(endpoint_url="lambda"),
        ],
    )
    def test_a_call_that_was_refused_may_be_made_later(self, refuses: Exception) -> None:
        with pytest.raises(RetryableError, match="invoke again"):
            FailedInvocations(FakeLambda(refuses=refuses)).retry(failed_run())

    def test_a_function_that_fails_again_says_so(self) -> None:
        with pytest.raises(RetryableError, match="failed again"):
            FailedInvocations(FakeLambda(fails=True)).retry(lost_batch())


class TestRedrive:
    def letters(self, queues: FakeQueueClient, lambdas: FakeLambda) -> DeadLetterService:
        queue = DeadLetterQueue("q/dead", retry=FailedInvocations(lambdas).retry)
        return DeadLetterService(queues, {"sweep": queue}, clock=FakeClock(), sleep=lambda _: None)

    def test_what_ran_again_is_gone_from_the_queue(self) -> None:
        queues, lambdas = FakeQueueClient({"q/dead": [failed_run(1), failed_run(2)]}), FakeLambda()
        outcome = self.letters(queues, lambdas).redrive(
            "sweep", DeadLetterFilter(), limit=10, rate_per_second=100
        )
        assert (outcome.handled, outcome.skipped, queues.queues) == (2, 0, {"q/dead": []})
        assert len(lambdas.ran) == 2

    def test_what_fails_again_or_makes_no_sense_stays_to_be_seen(self) -> None:
        lost, nonsense = lost_batch(1), letter("{}", number=2)
        queues = FakeQueueClient({"q/dead": [lost, nonsense]})
        outcome = self.letters(queues, FakeLambda(fails=True)).redrive(
            "sweep", DeadLetterFilter(), limit=10, rate_per_second=100
        )
        assert (outcome.handled, outcome.skipped) == (0, 2)
        assert (queues.queues, queues.hidden) == ({"q/dead": [lost, nonsense]}, set())
