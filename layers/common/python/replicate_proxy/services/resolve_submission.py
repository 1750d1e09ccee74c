"""Settling an unknown create: did Replicate take the request or not? Only when there is no trace is it sent
again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Protocol

from replicate_proxy.clock import parse_timestamp
from replicate_proxy.contracts.commands import DispatchCommand, DispatchKind
from replicate_proxy.errors import RetryableError
from replicate_proxy.jobs.changes import Accepted, CheckScheduled, EndedByProxy, ResubmitAllowed
from replicate_proxy.jobs.model import Job, JobStatus, SubmissionKind
from replicate_proxy.observability import Metric, count, logger
from replicate_proxy.testing.checkpoints import Checkpoint, no_checkpoint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from replicate_proxy.jobs.timeouts import JobTimeouts
    from replicate_proxy.jobs.updater import JobUpdater
    from replicate_proxy.ports import Clock, CommandQueue, DocumentStore, JobStore
    from replicate_proxy.replicate_api.callback_url import WebhookUrls
    from replicate_proxy.replicate_api.models import UpstreamPrediction, UpstreamPredictionPage


# Clocks differ, and a prediction may be created a while after its request was sent.
_BEFORE = timedelta(seconds=30)
_AFTER = timedelta(minutes=5)
_MOST_PAGES = 50
_NOT_SENT_AGAIN = (
    "Whether Replicate took the request could not be found out; it was not sent again lest it be paid twice"
)


class Lister(Protocol):
    """Replicate's list of recent predictions."""

    def list(
        self, *, created_after: datetime | None, created_before: datetime | None, cursor: str | None
    ) -> UpstreamPredictionPage: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionResolver:
    """Looks through the predictions made around the time of sending.

    Where Replicate echoes the webhook URL, that names the job. Where it does not, version and input must be
    equal and the prediction must not be another job's: a marker per prediction decides between twins.
    """

    updater: JobUpdater
    store: JobStore
    documents: DocumentStore
    queue: CommandQueue
    lister: Lister
    urls: WebhookUrls
    clock: Clock
    timeouts: JobTimeouts
    checkpoint: Checkpoint = no_checkpoint

    def resolve(self, job: Job) -> str:
        """`adopted`, `sent_again`, `still_unknown` or `given_up`; raises RetryableError where Replicate could
        not be asked.
        """
        found, doubt = self._find(job)
        if found is not None:
            return self._adopted(job, found)
        now = self.clock.now()
        sent_at = job.sent_at or job.created_at
        if job.checks == 0 or (now - sent_at).total_seconds() < self.timeouts.resubmit_after_seconds:
            next_look = now + timedelta(seconds=self.timeouts.unknown_outcome_seconds)
            self.updater.apply(job, CheckScheduled(expected_status=job.status, next_check_at=next_look))
            return "still_unknown"
        if doubt or _resends(job) >= self.timeouts.max_resubmissions:
            logger.error("create request given up", job_id=job.id, attempt=job.attempt)
            self.updater.apply(job, EndedByProxy(JobStatus.FAILED, _NOT_SENT_AGAIN))
            return "given_up"
        return self._sent_again(job)

    def _adopted(self, job: Job, found: UpstreamPrediction) -> str:
        accepted = Accepted(
            attempt=job.attempt,
            replicate_id=found.id,
            model=found.model or None,
            version=found.version or None,
        )
        job = self.updater.apply(job, accepted)
        self.checkpoint("sweep.adopted")
        # The prediction may be over already: look at once.
        self.updater.apply(
            job,
            CheckScheduled(
                expected_status=job.status, next_check_at=self.clock.now(), increments_backoff=False
            ),
        )
        count(Metric.SUBMISSION_RESOLVED)
        return "adopted"

    def _sent_again(self, job: Job) -> str:
        logger.warning("no trace of the create request, sending again", job_id=job.id, attempt=job.attempt)
        job = self.updater.apply(job, ResubmitAllowed(attempt=job.attempt))
        self.checkpoint("sweep.resent")
        if not job.is_terminal:
            self.queue.send(DispatchCommand(DispatchKind.SUBMIT, job.tenant, job.id, job.correlation_id))
        return "sent_again"

    def _find(self, job: Job) -> tuple[UpstreamPrediction | None, bool]:
        """The job's prediction; or None, and whether there is one that may be the job's without saying so."""
        failed = {past.get("replicate_id") for past in job.past_attempts}
        alike: list[UpstreamPrediction] = []
        for prediction in self._around(job.sent_at or job.created_at):
            echoed = self.urls.read_url(prediction.webhook)
            if prediction.id in failed:
                continue
            if echoed is not None:
                same_job = (echoed.tenant, echoed.job_id) == (job.tenant, job.id)
                if same_job and self._owned(job, prediction):
                    return prediction, False
            elif prediction.webhook is None and self._matches(job, prediction):
                alike.append(prediction)
        return self._claim_closest(job, alike)

    def _claim_closest(
        self, job: Job, alike: list[UpstreamPrediction]
    ) -> tuple[UpstreamPrediction | None, bool]:
        """Between twins: first what is marked as this job's, then what was made closest to its sending."""
        marked = [entry for entry in alike if self.store.prediction_owner(entry.id) == job.id]
        for prediction in marked or sorted(alike, key=partial(_distance, job)):
            if self._owned(job, prediction):
                return (None, True) if prediction.data_removed else (prediction, False)
        return None, False

    def _owned(self, job: Job, prediction: UpstreamPrediction) -> bool:
        return self.store.claim_prediction(prediction.id, job.tenant, job.id)

    def _matches(self, job: Job, prediction: UpstreamPrediction) -> bool:
        """Same model and input; of a prediction whose data is gone, only the model can be told."""
        if not self._same_model(job, prediction):
            return False
        return prediction.data_removed or prediction.input == self.documents.load(job.input)

    def _around(self, sent_at: datetime) -> Iterator[UpstreamPrediction]:
        cursor: str | None = None
        for _ in range(_MOST_PAGES):
            page = self.lister.list(
                created_after=sent_at - _BEFORE, created_before=sent_at + _AFTER, cursor=cursor
            )
            yield from page.results
            cursor = page.next_cursor
            if cursor is None:
                return
        raise RetryableError("more predictions around the time of sending than can be looked through")

    def _same_model(self, job: Job, prediction: UpstreamPrediction) -> bool:
        """Same model or version, made no earlier than it was sent, as far as Replicate tells.

        Of official models it tells no version, whichever was asked for.
        """
        submission = job.submission
        tells_version = prediction.version != "hidden"
        if submission.kind is SubmissionKind.VERSION and submission.version_id != "hidden" and tells_version:
            same_model = prediction.version == submission.version_id
        elif submission.kind is SubmissionKind.VERSION and not submission.model:
            same_model = not tells_version and job.model in {None, prediction.model}
        elif submission.kind is SubmissionKind.DEPLOYMENT:
            same_model = True
        else:
            same_model = prediction.model == submission.model
        return same_model and _made_after(prediction, job)


def _resends(job: Job) -> int:
    return sum(1 for past in job.past_attempts if past.get("replicate_id") is None)


def _made_after(prediction: UpstreamPrediction, job: Job) -> bool:
    return _distance(job, prediction)[1] >= -_BEFORE.total_seconds()


def _distance(job: Job, prediction: UpstreamPrediction) -> tuple[float, float]:
    """Seconds between the sending and the making: without and with their sign."""
    try:
        made = parse_timestamp(prediction.created_at or "")
    except ValueError:
        return math.inf, -math.inf
    seconds = (made - (job.sent_at or job.created_at)).total_seconds()
    return abs(seconds), seconds
