"""The dispatcher: every class of failure, crashes at every step, and never two predictions for a job."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from replicate_proxy.clock import format_timestamp
from replicate_proxy.concurrency.ports import NoLimits
from replicate_proxy.contracts.commands import DispatchCommand, DispatchKind
from replicate_proxy.errors import ConfigurationError, ConflictError, NotFoundError, RetryableError
from replicate_proxy.jobs.changes import CancelRequested
from replicate_proxy.jobs.model import (
    Document,
    Job,
    JobStatus,
    Submission,
    SubmissionKind,
    Waiting,
    WaitReason,
)
from replicate_proxy.pauses.pause import Pause, PauseMode
from replicate_proxy.ports import PredictionClaim, PredictionOwner
from replicate_proxy.replicate_api.errors import (
    BreakerOpenError,
    NotAcceptedError,
    OutcomeUnknownError,
    RejectedError,
    ThrottledError,
    TokenRejectedError,
    TokenUnavailableError,
    UnexpectedResponseError,
)
from tests.support.builders import TENANT, make_job
from tests.support.clock import NOW
from tests.support.pipeline import Crash, Pipeline, crash_once_at

if TYPE_CHECKING:
    from collections.abc import Iterable

    from replicate_proxy.replicate_api.models import UpstreamPrediction

S = JobStatus


@pytest.fixture
def pipeline() -> Pipeline:
    return Pipeline()


def test_dispatch_creates_prediction_of_queued_job(pipeline: Pipeline) -> None:
    job = pipeline.dispatch_job(pipeline.put_job(webhook_events=("logs", "completed")))

    assert (job.status, job.replicate_id) == (S.SUBMITTED, "p1")
    assert pipeline.replicate.predictions["p1"]["input"] == {"prompt": "a cat"}
    attempt = pipeline.urls.parse_url(pipeline.replicate.webhooks["p1"])
    assert attempt is not None
    assert (attempt.tenant, attempt.job_id, attempt.attempt) == (job.tenant, job.id, 1)
    owner = pipeline.store.get_prediction_owner("p1")
    assert owner == PredictionOwner(job.tenant, job.id, PredictionClaim.CERTAIN)


@pytest.mark.parametrize("is_start_wanted", [True, False])
def test_dispatch_subscribes_to_the_start_if_it_is_wanted(is_start_wanted: bool, pipeline: Pipeline) -> None:
    pipeline.is_start_wanted = is_start_wanted
    start = ["start"] if is_start_wanted else []

    pipeline.dispatch_job(pipeline.put_job())
    pipeline.dispatch_job(pipeline.put_job(webhook_events=("logs", "completed")))

    assert pipeline.replicate.webhook_events == {
        "p1": [*start, "completed"],
        "p2": [*start, "logs", "completed"],
    }


@pytest.mark.parametrize(
    ("submission", "model"),
    [
        (Submission(kind=SubmissionKind.MODEL, owner="o", name="n"), "o/n"),
        (Submission(kind=SubmissionKind.DEPLOYMENT, owner="o", name="d"), "o/d"),
    ],
    ids=["model", "deployment"],
)
def test_dispatch_uses_endpoint_of_submission_kind(
    pipeline: Pipeline, submission: Submission, model: str
) -> None:
    pipeline.dispatch_job(pipeline.put_job(submission=submission))

    assert pipeline.replicate.predictions["p1"]["model"] == model
    assert pipeline.replicate.predictions["p1"]["version"] == "hidden"


def test_dispatch_creates_one_prediction_when_command_is_repeated(pipeline: Pipeline) -> None:
    job = pipeline.put_job()

    pipeline.dispatch_job(job)
    pipeline.dispatch_job(job)

    assert list(pipeline.replicate.predictions) == ["p1"]


def test_dispatch_creates_one_prediction_when_two_dispatchers_race(pipeline: Pipeline) -> None:
    job = pipeline.put_job()

    def dispatch_concurrently(_: Job) -> None:
        pipeline.store.before_save = lambda _: None
        pipeline.dispatch_job(job)

    pipeline.store.before_save = dispatch_concurrently
    pipeline.dispatch_job(job)

    assert list(pipeline.replicate.predictions) == ["p1"]


def test_dispatch_raises_not_found_when_job_does_not_exist(pipeline: Pipeline) -> None:
    with pytest.raises(NotFoundError):
        pipeline.dispatcher.handle_command(DispatchCommand.for_job(DispatchKind.SUBMIT, make_job()))


@pytest.mark.parametrize(
    ("error", "delay_seconds", "failed_submissions", "reason"),
    [
        (NotAcceptedError("no connection"), 5, 1, "not_accepted"),
        (NotAcceptedError("no connection", retry_after=30), 30, 1, "not_accepted"),
        (ThrottledError("slow down", retry_after=7), 7, 0, "rate_limit"),
        (BreakerOpenError("open", retry_after=20), 20, 0, "circuit_open"),
        (TokenRejectedError("our token", retry_after=60), 60, 0, "token_rejected"),
        (TokenUnavailableError("throttled by SSM"), 5, 1, "not_accepted"),
        (ConfigurationError("no token"), 60, 1, "configuration"),
        (NotAcceptedError("long", retry_after=5000), 900, 1, "not_accepted"),
    ],
)
def test_dispatch_requeues_job_when_create_is_not_accepted(
    pipeline: Pipeline, error: Exception, delay_seconds: float, failed_submissions: int, reason: str
) -> None:
    pipeline.replicate.faults.fail("create", error=error)
    job = pipeline.dispatch_job(pipeline.put_job())

    assert (job.status, job.lease_until) == (S.QUEUED, None)
    assert job.failed_submissions == failed_submissions
    assert job.next_check_at == NOW + timedelta(seconds=delay_seconds + pipeline.timeouts.queued_seconds)
    assert [message.due_seconds for message in pipeline.messages] == [delay_seconds]
    assert job.waiting == Waiting(reason=WaitReason(reason), until=NOW + timedelta(seconds=delay_seconds))
    # And the delayed message submits the job.
    pipeline.pass_time(delay_seconds + 60)
    submitted = pipeline.get_job(job)
    assert (submitted.status, submitted.waiting) == (S.SUBMITTED, None)


def test_dispatch_fails_job_with_replicates_text_when_create_is_rejected(pipeline: Pipeline) -> None:
    pipeline.replicate.faults.fail(
        "create", error=RejectedError(422, "Invalid", "- input: prompt is required")
    )

    job = pipeline.dispatch_job(pipeline.put_job())

    assert (job.status, job.error) == (S.FAILED, "Invalid: - input: prompt is required")
    assert pipeline.messages == []


@pytest.mark.parametrize(
    "error",
    [
        OutcomeUnknownError("reset"),
        UnexpectedResponseError("no id"),
        RetryableError("breaker's table is down"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_dispatch_does_not_send_again_when_outcome_is_unknown(pipeline: Pipeline, error: Exception) -> None:
    pipeline.replicate.faults.fail("create_response", error=error)
    job = pipeline.dispatch_job(pipeline.put_job())
    assert job.status is S.SUBMIT_UNKNOWN

    pipeline.dispatch_job(job)
    pipeline.pass_time(600)

    assert list(pipeline.replicate.predictions) == ["p1"]
    assert (pipeline.get_job(job).status, pipeline.get_job(job).replicate_id) == (S.SUBMITTED, "p1")


@pytest.mark.parametrize(
    "step",
    ["before_claim", "job_claimed", "prediction_created", "prediction_claimed", "acceptance_stored"],
)
@pytest.mark.parametrize("webhooks", [True, False], ids=["webhooks", "polling"])
def test_crash_at_any_checkpoint_never_costs_second_prediction(step: str, *, webhooks: bool) -> None:
    # Given a dispatcher that crashes once, at the checkpoint
    pipeline = Pipeline(fault_occurs=crash_once_at(f"dispatch.{step}"))
    job = pipeline.put_job()
    with pytest.raises(Crash):
        pipeline.dispatch_job(job)

    # When the message is received again, and the sweep runs
    pipeline.dispatch_job(job)
    if webhooks and "p1" in pipeline.replicate.predictions:
        pipeline.replicate.start("p1")
        pipeline.send_webhook("p1")
    pipeline.pass_time(900)

    # Then there is exactly one prediction, and the job knows it
    assert list(pipeline.replicate.predictions) == ["p1"]
    assert pipeline.get_job(job).replicate_id == "p1"


def test_sweep_submits_job_when_dispatcher_crashes_after_release() -> None:
    pipeline = Pipeline(fault_occurs=lambda name: name == "crash.dispatch.job_released")
    pipeline.replicate.faults.fail("create", error=NotAcceptedError("no connection"))
    job = pipeline.put_job()
    with pytest.raises(Crash):
        pipeline.dispatch_job(job)

    pipeline.pass_time(300)

    assert pipeline.get_job(job).replicate_id == "p1"


class TestWaiting:
    def test_job_is_requeued_without_claim_when_rate_limited(self, pipeline: Pipeline) -> None:
        pipeline.replicate.create_delay_seconds = 40

        job = pipeline.dispatch_job(pipeline.put_job())

        assert (job.status, job.create_sent_at) == (S.QUEUED, None)
        assert [message.due_seconds for message in pipeline.messages] == [40]

    def test_job_has_one_message_when_it_waits_for_an_hour(self, pipeline: Pipeline) -> None:
        pipeline.replicate.create_delay_seconds = 60
        job = pipeline.accept_job().job
        pipeline.pass_time(3600)
        assert len(pipeline.messages) == 1
        assert pipeline.dead_letters == []

        pipeline.replicate.create_delay_seconds = 0
        pipeline.pass_time(120)

        assert pipeline.get_job(job).status is S.SUBMITTED

    def test_job_is_left_to_sweep_when_requeueing_fails(self) -> None:
        pipeline = Pipeline(fault_occurs=lambda name: name == "queue.failed")
        pipeline.replicate.create_delay_seconds = 40

        job = pipeline.dispatch_job(pipeline.put_job())

        assert job.status is S.QUEUED
        assert job.next_check_at is not None

    def test_job_fails_after_a_day(self, pipeline: Pipeline) -> None:
        job = pipeline.dispatch_job(pipeline.put_job(created_at=NOW - timedelta(hours=25)))

        assert job.status is S.FAILED
        assert pipeline.replicate.predictions == {}

    def test_job_is_canceled_at_its_deadline(self, pipeline: Pipeline) -> None:
        job = pipeline.dispatch_job(pipeline.put_job(deadline=NOW - timedelta(seconds=1)))

        assert job.status is S.CANCELED
        assert pipeline.replicate.predictions == {}


def test_dispatch_cancels_prediction_when_job_has_another(pipeline: Pipeline) -> None:
    # Given a job whose first attempt was given up
    job = pipeline.put_job()
    pipeline.replicate.faults.fail("create_response", error=OutcomeUnknownError("reset"))
    pipeline.dispatch_job(job)
    first_prediction = pipeline.replicate.predictions.pop("p1")
    pipeline.pass_time(300)
    job = pipeline.get_job(job)
    assert job.attempt == 2
    if job.status is S.SUBMITTED:
        job = pipeline.store.put(replace(job, status=S.QUEUED, replicate_id=None))
    pipeline.messages.clear()
    pipeline.replicate.predictions["p1"] = first_prediction
    create = pipeline.replicate.create

    # When the first prediction reports while the second is being created
    def create_while_first_reports(*args: Any, **kwargs: Any) -> UpstreamPrediction:
        pipeline.replicate.start("p1")
        pipeline.send_webhook("p1")
        pipeline.drain_messages()
        return create(*args, **kwargs)

    pipeline.replicate.create = create_while_first_reports  # type: ignore[method-assign]  # for this test only
    pipeline.dispatch_job(job)

    # Then the job has the first, and the second is canceled
    assert pipeline.get_job(job).replicate_id == "p1"
    assert len(pipeline.replicate.canceled) == 1
    assert "p1" not in pipeline.replicate.canceled


def test_dispatch_raises_retryable_error_when_conflicts_do_not_end(pipeline: Pipeline) -> None:
    job = pipeline.put_job()

    def raise_conflict(_: Job) -> None:
        raise ConflictError("save job")

    pipeline.store.before_save = raise_conflict
    with pytest.raises(RetryableError):
        pipeline.dispatch_job(job)
    assert pipeline.replicate.predictions == {}


def test_dispatch_reads_large_input_before_claim(pipeline: Pipeline) -> None:
    job = pipeline.put_job(input=Document(object_key="records/acme/x/input.json"))
    pipeline.documents.faults.fail("read")

    with pytest.raises(RetryableError):
        pipeline.dispatch_job(job)

    assert pipeline.get_job(job).status is S.QUEUED


def test_sweep_leaves_job_to_its_dispatcher_for_as_long_as_that_may_run(pipeline: Pipeline) -> None:
    job = pipeline.put_job()

    def create_slowly(*_: object, **__: object) -> UpstreamPrediction:
        pipeline.clock.advance(60)
        assert pipeline.run_sweep() == {}
        raise NotAcceptedError("no connection")

    pipeline.replicate.create = create_slowly  # type: ignore[method-assign]  # for this test only
    pipeline.dispatch_job(job)

    assert (pipeline.get_job(job).status, pipeline.get_job(job).past_attempts) == (S.QUEUED, ())


class OneLimit(NoLimits):
    """Acquires a slot for every job, and records whose slots are given back."""

    def __init__(self) -> None:
        self.given_back: list[tuple[str, ...]] = []
        self.stepped_aside: list[Job] = []

    def acquire(self, job: Job) -> tuple[str, ...]:
        return ("tenant/acme",)

    def give_back(self, limit_names: Iterable[str], current: Job) -> None:
        self.given_back.append(tuple(limit_names))

    def step_aside(self, job: Job, current: Job) -> None:
        self.stepped_aside.append(current)


@pytest.mark.parametrize("is_canceled", [False, True])
def test_job_that_changes_while_its_slots_are_acquired_is_sent_again_or_gives_them_back(
    *, is_canceled: bool
) -> None:
    pipeline = Pipeline()
    limits = OneLimit()
    pipeline.dispatcher._concurrency = limits
    job = pipeline.put_job()
    changes = iter([True])

    def change_before_claim(name: str) -> bool:
        if name == "crash.dispatch.before_claim" and next(changes, False):
            if is_canceled:
                pipeline.updater.apply(job, CancelRequested())
            else:
                pipeline.store.put(replace(pipeline.get_job(job), revision=7))
        return False

    pipeline.fault_occurs = change_before_claim
    pipeline.dispatch_job(job)
    assert pipeline.replicate.predictions == {}
    pipeline.clock.advance(2)
    pipeline.drain_messages()

    assert pipeline.get_job(job).status is (S.CANCELED if is_canceled else S.SUBMITTED)
    assert limits.given_back == ([("tenant/acme",)] if is_canceled else [])


def test_job_of_a_paused_tenant_waits_without_a_slot_until_it_is_resumed(pipeline: Pipeline) -> None:
    limits = OneLimit()
    pipeline.dispatcher._concurrency = limits
    pause = Pause(PauseMode.HOLD, format_timestamp(pipeline.clock.now()), "invoice")
    pipeline.pauses.put(TENANT, pause)
    job = pipeline.dispatch_job(pipeline.put_job())

    assert limits.stepped_aside == [job]
    assert job.waiting is not None
    assert (job.waiting.reason, job.waiting.detail) == (WaitReason.OPERATOR_PAUSE, "invoice")
    pipeline.pass_time(600)
    assert pipeline.replicate.predictions == {}

    pipeline.pauses.remove(TENANT)
    pipeline.pass_time(60)
    assert pipeline.get_job(job).status is S.SUBMITTED
