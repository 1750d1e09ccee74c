"""Progress of running predictions: read from Replicate while a caller looks."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from moto import mock_aws

from replicate_proxy.api.predictions.read_routes import add_prediction_read_routes
from replicate_proxy.api.routing import Router
from replicate_proxy.aws.control_table import ControlTable
from replicate_proxy.aws.progress_claims import ControlTableProgressClaims
from replicate_proxy.contracts.commands import DispatchKind
from replicate_proxy.errors import RetryableError
from replicate_proxy.jobs.model import Job, JobStatus, TimelineStep
from replicate_proxy.replicate_api.errors import RejectedError, UpstreamUnavailableError
from replicate_proxy.services.prediction_list import PredictionList
from replicate_proxy.services.progress_request import REFRESHED_STATUSES, ProgressRequester
from replicate_proxy.services.query import PredictionReader
from replicate_proxy.services.rendering import PredictionRenderer
from replicate_proxy.webhooks.events import derive_events
from tests.support.aws import CONTROL_TABLE, create_control_table
from tests.support.builders import make_event, make_job
from tests.support.clock import NOW, FakeClock
from tests.support.fakes import FakeCommandQueue
from tests.support.prediction_api import FakeProgressClaims, PredictionApi

URL = "https://replicate.delivery/out-0.png"


class RunningPrediction:
    """A prediction that Replicate runs, and what a caller sees of it."""

    def __init__(self, *, is_started: bool = True) -> None:
        self.api = PredictionApi()
        self.id = self.api.post()[1]["id"]
        self.pipeline = self.api.pipeline
        self.pipeline.drain_messages()
        if not is_started:
            return
        self.report(status="processing")
        self.pipeline.send_webhook("p1")
        self.pipeline.drain_messages()

    @property
    def job(self) -> Job:
        return self.pipeline.store.only_job()

    def report(self, **fields: Any) -> None:
        """Set what Replicate says about the prediction."""
        self.pipeline.replicate.predictions["p1"].update(fields)

    def read(self) -> dict[str, Any]:
        """Read the prediction as a caller does, and let the pipeline work."""
        status, prediction, _ = self.api.get_prediction(self.id)
        assert status == 200
        self.pipeline.drain_messages()
        return dict(prediction)

    def read_twice(self, seconds: float = 4) -> dict[str, Any]:
        """Wait, look, and return what the next look shows."""
        self.pipeline.clock.advance(seconds)
        self.read()
        return self.read()

    def finish(self, **fields: Any) -> dict[str, Any]:
        self.pipeline.replicate.finish("p1", **fields)
        self.pipeline.send_webhook("p1")
        self.pipeline.drain_messages()
        return self.read()


@pytest.fixture
def prediction() -> RunningPrediction:
    return RunningPrediction()


def test_logs_and_text_grow_while_a_caller_polls(prediction: RunningPrediction) -> None:
    seen = []
    for percent in (10, 40, 90):
        prediction.report(logs=f"{percent}%", output=["word"] * (percent // 10))
        view = prediction.read_twice()
        seen.append((view["status"], view["logs"], len(view["output"])))
    assert seen == [("processing", "10%", 1), ("processing", "40%", 4), ("processing", "90%", 9)]
    finished = prediction.finish(output=["word"] * 10, logs="100%")
    assert (finished["status"], finished["logs"]) == ("succeeded", "100%")
    assert prediction.job.partial_output is None


@pytest.mark.parametrize("length", [100, 5_000])
def test_logs_of_any_length_give_an_event_for_each_change(prediction: RunningPrediction, length: int) -> None:
    kinds = []
    for logs in ("a" * length, "a" * length, "b" * length, "b" * (length + 1)):
        before = prediction.job
        prediction.report(logs=logs)
        prediction.read_twice(60)
        kinds.append([event.kind.value for event in derive_events(before, prediction.job)])
    assert kinds == [["logs"], [], ["logs"], ["logs"]]


@pytest.mark.parametrize(
    "output", [[URL], URL, [[URL, "text"]], {"image": URL}, ["data:image/png;base64,AA"], [], "", None, {}]
)
def test_files_and_empty_outputs_are_not_shown_before_the_end(
    prediction: RunningPrediction, output: Any
) -> None:
    prediction.report(logs="10%", output=output)
    view = prediction.read_twice()
    assert view["logs"] == "10%"
    assert "output" not in view


def test_large_partial_output_is_not_stored_again_and_again(prediction: RunningPrediction) -> None:
    prediction.report(output="x" * 600_000)
    assert "output" not in prediction.read_twice()


def test_wait_that_expires_shows_no_partial_output(prediction: RunningPrediction) -> None:
    prediction.report(output=["word"])
    prediction.read_twice()
    renderer = PredictionRenderer(prediction.pipeline.documents)
    assert "output" not in renderer.render(prediction.job, wait_expired=True)
    assert renderer.render(prediction.job)["output"] == ["word"]


def test_earlier_report_that_arrives_late_is_ignored(prediction: RunningPrediction) -> None:
    prediction.report(logs="50%")
    prediction.read_twice()
    now = prediction.pipeline.clock.now()
    prediction.report(logs="10%")
    prediction.pipeline.clock.set(now - timedelta(seconds=2))
    prediction.pipeline.send_webhook("p1")  # received before the look, handled after it
    prediction.pipeline.clock.set(now)
    prediction.pipeline.drain_messages()
    assert prediction.read()["logs"] == "50%"


def test_look_finds_the_start_that_was_not_reported() -> None:
    prediction = RunningPrediction(is_started=False)
    assert prediction.read_twice()["status"] == "starting"
    prediction.report(status="processing", logs="10%")
    found = prediction.read_twice()
    assert (found["status"], found["logs"]) == ("processing", "10%")


def test_look_finds_the_end_when_the_webhook_is_lost(prediction: RunningPrediction) -> None:
    prediction.pipeline.replicate.finish("p1", output=["done"])
    assert prediction.read_twice()["status"] == "succeeded"


@pytest.mark.parametrize(
    "error", [UpstreamUnavailableError("down"), RejectedError(404, "Not found", ""), RetryableError("bus")]
)
def test_look_that_fails_changes_nothing(prediction: RunningPrediction, error: Exception) -> None:
    before = prediction.job
    prediction.pipeline.replicate.faults.fail("get", error=error)
    prediction.read_twice()
    assert prediction.job == before
    assert prediction.pipeline.dead_letters == []
    prediction.report(logs="later")
    assert prediction.read_twice(10)["logs"] == "later"


def test_no_read_when_the_limit_is_used_up(prediction: RunningPrediction) -> None:
    prediction.pipeline.refresh_limiter.delay_seconds = 1
    prediction.report(logs="10%")
    assert prediction.read_twice()["logs"] == ""


def test_data_that_replicate_removed_is_no_progress(prediction: RunningPrediction) -> None:
    prediction.report(status="succeeded", output=None, data_removed=True)
    assert prediction.read_twice()["status"] == "processing"


def test_prediction_whose_text_may_be_read_is_not_run_again(prediction: RunningPrediction) -> None:
    prediction.report(output=["word"])
    prediction.read_twice()
    shown = prediction.finish(status="failed", output=["word"], error="Director: unexpected error (E9828)")

    assert prediction.job.attempt == 1
    assert (shown["status"], shown["output"]) == ("failed", ["word"])


def test_prediction_whose_logs_alone_are_read_is_run_again(prediction: RunningPrediction) -> None:
    prediction.report(logs="10%")
    prediction.read_twice()
    shown = prediction.finish(status="failed", error="Director: unexpected error (E9828)")

    assert prediction.job.attempt == 2
    assert shown["logs"] == ""


class TestRequester:
    def build(self, clock: FakeClock, interval: float = 3) -> ProgressRequester:
        self.claims, self.queue = FakeProgressClaims(), FakeCommandQueue()
        return ProgressRequester(self.claims, self.queue, clock, min_interval_seconds=interval)

    def make_running_job(self, **fields: Any) -> Job:
        defaults: dict[str, Any] = {"replicate_id": "p1", "started_at": NOW}
        return make_job(JobStatus.PROCESSING, **{**defaults, **fields})

    def test_one_command_for_any_number_of_reads_in_an_interval(self) -> None:
        clock = FakeClock()
        requester, job = self.build(clock), self.make_running_job()
        for _ in range(60):
            clock.advance(0.5)
            requester.request_progress(job)
        assert {command.kind for command, _ in self.queue.sent} == {DispatchKind.REFRESH}
        assert len(self.queue.sent) == self.claims.count == 10

    def test_interval_grows_with_the_time_that_the_job_has_run(self) -> None:
        clock = FakeClock()
        requester, job = self.build(clock), self.make_running_job()
        for _ in range(3600):
            clock.advance(1)
            requester.request_progress(job)
        assert 40 < len(self.queue.sent) < 70

    def test_recent_progress_needs_no_command(self) -> None:
        clock = FakeClock()
        requester = self.build(clock)
        clock.advance(10)
        requester.request_progress(self.make_running_job(progress_at=NOW + timedelta(seconds=8)))
        assert self.queue.sent == []

    def test_no_command_when_another_environment_has_the_claim(self) -> None:
        clock = FakeClock()
        requester = self.build(clock)
        self.claims.is_free = False
        clock.advance(10)
        requester.request_progress(self.make_running_job())
        assert (self.claims.count, self.queue.sent) == (1, [])

    def test_start_that_was_not_reported_is_asked_for_after_an_interval(self) -> None:
        clock = FakeClock()
        requester = self.build(clock)
        job = make_job(JobStatus.SUBMITTED, replicate_id="p1", timeline={TimelineStep.SUBMITTED: NOW})
        clock.advance(2)
        requester.request_progress(job)
        assert self.queue.sent == []
        clock.advance(1)
        requester.request_progress(job)
        assert len(self.queue.sent) == 1

    @pytest.mark.parametrize("status", sorted(set(JobStatus) - REFRESHED_STATUSES))
    def test_no_command_for_a_job_that_does_not_run(self, status: JobStatus) -> None:
        clock = FakeClock()
        requester = self.build(clock)
        clock.advance(100)
        requester.request_progress(make_job(status, replicate_id="p1", started_at=NOW))
        assert self.claims.count == 0

    def test_interval_of_zero_turns_it_off(self) -> None:
        clock = FakeClock()
        requester = self.build(clock, interval=0)
        clock.advance(100)
        requester.request_progress(self.make_running_job())
        assert self.claims.count == 0

    def test_start_is_taken_from_the_timeline_when_replicate_names_none(self) -> None:
        clock = FakeClock()
        requester = self.build(clock)
        job = self.make_running_job(started_at=None, timeline={TimelineStep.STARTED: NOW})
        requester.request_progress(job)
        clock.advance(4)
        requester.request_progress(job)
        assert len(self.queue.sent) == 1

    def test_read_is_answered_when_the_command_cannot_be_sent(self, prediction: RunningPrediction) -> None:
        queue = FakeCommandQueue()
        queue.faults.fail("send")
        clock = prediction.pipeline.clock
        requester = ProgressRequester(FakeProgressClaims(), queue, clock, min_interval_seconds=3)
        router = Router()
        renderer = PredictionRenderer(prediction.pipeline.documents)
        store = prediction.pipeline.store
        add_prediction_read_routes(
            router,
            PredictionReader(store, renderer, requester),
            PredictionList(store, prediction.pipeline.batch_store.get, renderer),
        )
        clock.advance(10)
        event = make_event("GET", "/v1/predictions/{id}", params={"id": prediction.id})
        assert router.handle(event)["statusCode"] == 200


def test_claim_is_exclusive_until_it_ends() -> None:
    clock = FakeClock()
    with mock_aws():
        table = ControlTable(create_control_table(), CONTROL_TABLE)
        claims, others = ControlTableProgressClaims(table, clock), ControlTableProgressClaims(table, clock)
        until = clock.now() + timedelta(seconds=3)
        assert claims.claim("acme", "job1", until=until)
        assert not others.claim("acme", "job1", until=until)
        assert others.claim("acme", "job2", until=until)
        assert others.claim("globex", "job1", until=until)
        clock.advance(3)
        assert others.claim("acme", "job1", until=clock.now() + timedelta(seconds=3))
        assert not claims.claim("acme", "job1", until=clock.now() + timedelta(seconds=3))
