"""Cancel predictions on Replicate: for a caller, for a fallback, and surplus ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from replicate_proxy.contracts.commands import MAX_MESSAGE_DELAY_SECONDS, DispatchCommand
from replicate_proxy.errors import RetryableError
from replicate_proxy.jobs.changes import EndedByProxy
from replicate_proxy.jobs.model import EndReason, Job, JobStatus
from replicate_proxy.observability import logger
from replicate_proxy.replicate_api.errors import RejectedError
from replicate_proxy.replicate_api.models import UpstreamPrediction, UpstreamStatus
from replicate_proxy.services.report_change import build_cancel_report, build_end_change

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.jobs.changes import Change
    from replicate_proxy.jobs.model import Account
    from replicate_proxy.ports import Clock, CommandQueue
    from replicate_proxy.services.progress_refresh import ProgressRefresher
    from replicate_proxy.testing.checkpoints import Checkpoint

_RETRY_SECONDS = 30.0


class PredictionEnder(Protocol):
    """Cancels predictions in one account."""

    def cancel(self, prediction_id: str) -> UpstreamPrediction: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionCanceler:
    """Cancels predictions for the dispatcher.

    `apply` saves a change of a job unless the job has moved on; `start_fallback` does that as well, and sends
    the job again.
    """

    get_client: Callable[[Account], PredictionEnder]
    queue: CommandQueue
    clock: Clock
    refresher: ProgressRefresher | None
    checkpoint: Checkpoint
    apply: Callable[[Job, Change], Job | None]
    start_fallback: Callable[[Job, Change], None]

    def cancel(self, job: Job) -> None:
        """Cancel the job's prediction. Without one yet, the request stays on the job until it has one."""
        if job.is_terminal:
            return
        if job.cancel_requested_at is None:
            self._cancel_abandoned(job)
            return
        end = EndedByProxy.decide(job, JobStatus.CANCELED, EndReason.CANCEL_REQUESTED)
        if job.status is not JobStatus.QUEUED:
            prediction = self._cancel_prediction(job) if job.replicate_id else None
            if prediction is None:
                return
            # The response to a cancel has no output. What the stream has shown belongs to the record, so the
            # job of a stream ends by a report that has it.
            if job.stream_url and self.refresher and self.refresher.publish_state(job):
                return
            end = build_end_change(end, job, prediction, self.clock.now())
        self.apply(job, end)

    def _cancel_abandoned(self, job: Job) -> None:
        """Cancel a prediction that has waited for too long, unless it is known to run; then fall back."""
        if job.abandoned_at is None or job.status is not JobStatus.SUBMITTED:
            return
        prediction = self._cancel_prediction(job)
        if prediction is not None:
            self.start_fallback(job, build_cancel_report(job, prediction, self.clock.now()))

    def cancel_surplus(self, job: Job, replicate_id: str) -> None:
        """Cancel a prediction that was created for the job but is not its own.

        No check of the job will find it, so a cancel that fails is tried again by a message of its own.
        """
        if job.replicate_id == replicate_id:
            return
        self.checkpoint("dispatch.before_cancel")
        try:
            self.get_client(job.account).cancel(replicate_id)
        except RejectedError as error:
            logger.warning("cancel rejected", status=error.status)
        except RetryableError as error:
            delay_seconds = error.retry_after or _RETRY_SECONDS
            logger.warning("cancel failed, tried again", reason=type(error).__name__)
            command = DispatchCommand.for_surplus(job, replicate_id)
            self.queue.send(command, delay_seconds=min(delay_seconds, MAX_MESSAGE_DELAY_SECONDS))
        self.checkpoint("dispatch.prediction_canceled")

    def _cancel_prediction(self, job: Job) -> UpstreamPrediction | None:
        """Cancel the job's prediction on Replicate and return it if it ended canceled.

        If that fails, the sweep sends another command: waiting for Replicate uses up no receives.
        """
        self.checkpoint("dispatch.before_cancel")
        try:
            prediction = self.get_client(job.account).cancel(job.replicate_id or "")
        except (RejectedError, RetryableError) as error:
            logger.warning("cancel failed, left to the sweep", reason=f"{type(error).__name__}: {error}")
            return None
        self.checkpoint("dispatch.prediction_canceled")
        is_canceled = prediction.status in {UpstreamStatus.CANCELED, UpstreamStatus.ABORTED}
        return prediction if is_canceled else None
