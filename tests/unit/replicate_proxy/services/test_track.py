"""Reports of running jobs: which commands follow from them."""

from __future__ import annotations

import pytest

from replicate_proxy.contracts.commands import DispatchCommand, DispatchKind
from replicate_proxy.jobs.changes import CancelRequested
from replicate_proxy.jobs.model import AttemptOutcome, JobStatus, PastAttempt
from tests.support.clock import NOW
from tests.support.pipeline import Pipeline

FAILED = PastAttempt(
    attempt=1, outcome=AttemptOutcome.FAILED, replicate_id="p0", error="(code: PA)", ended_at=NOW
)


@pytest.mark.parametrize("is_canceled", [False, True])
def test_report_of_running_attempt_sends_a_command_only_if_it_is_to_be_canceled(
    monkeypatch: pytest.MonkeyPatch, *, is_canceled: bool
) -> None:
    pipeline = Pipeline()
    job = pipeline.dispatch_job(pipeline.put_job(attempt=2, past_attempts=(FAILED,)))
    if is_canceled:
        pipeline.store.put(pipeline.updater.apply(job, CancelRequested()))
    sent: list[DispatchKind] = []

    def send(command: DispatchCommand, *, delay_seconds: float = 0) -> None:
        sent.append(command.kind)

    monkeypatch.setattr(pipeline.queue, "send", send)
    pipeline.replicate.start("p1")
    pipeline.send_webhook("p1")
    pipeline.drain_messages()

    assert pipeline.get_job(job).status is JobStatus.PROCESSING
    assert sent == ([DispatchKind.CANCEL] if is_canceled else [])
