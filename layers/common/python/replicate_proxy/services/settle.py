"""Settling an unknown create: did Replicate take the request or not? Only when there is no trace is it sent
again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from replicate_proxy.clock import parse
from replicate_proxy.contracts.commands import DispatchCommand, DispatchKind
from replicate_proxy.jobs.changes import Accepted, Looked, Resent
from replicate_proxy.jobs.model import Job, SubmissionKind
from replicate_proxy.observability import Metric, count, logger
from replicate_proxy.services.upstream_url import JobReference, WebhookUrls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from replicate_proxy.jobs.policy import Policy
    from replicate_proxy.ports import Clock, CommandQueue, DocumentStore, JobStore
    from replicate_proxy.replicate_api.models import PredictionPage, UpstreamPrediction
    from replicate_proxy.services.keeper import JobKeeper

__all__ = ["Settle"]

# Clocks differ, and a prediction may be created a while after its request was sent.
_BEFORE = timedelta(seconds=30)
_AFTER = timedelta(minutes=5)
_MOST_PAGES = 50


class Lister(Protocol):
    """Replicate's list of recent predictions."""

    def list(
        self, *, created_after: datetime | None, created_before: datetime | None, cursor: str | None
    ) -> PredictionPage: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Settle:
    """Looks through the predictions made around the time of sending.

    Where Replicate echoes the webhook URL, that names the job. Where it does not, version and input must be
    equal and the prediction must not be another job's: a marker per prediction decides between twins.
    """

    keeper: JobKeeper
    store: JobStore
    documents: DocumentStore
    queue: CommandQueue
    lister: Lister
    urls: WebhookUrls
    clock: Clock
    policy: Policy
    checkpoint: Callable[[str], None] = lambda _: None

    def settle(self, job: Job) -> str:
        """`adopted`, `sent_again` or `still_unknown`; raises RetryableError where Replicate could not be
        asked.
        """
        found = self._find(job)
        if found is not None:
            self.keeper.change(job, Accepted(found.id, found.model or None, found.version or None))
            # The prediction may be over already: look at once.
            self.keeper.change(self.keeper.get(job.tenant, job.id), Looked(self.clock.now()))
            count(Metric.SWEEP_SETTLED)
            return "adopted"
        now = self.clock.now()
        sent_at = job.sent_at or job.created_at
        if job.looks == 0 or (now - sent_at).total_seconds() < self.policy.resend_after:
            self.keeper.change(job, Looked(now + timedelta(seconds=self.policy.unknown)))
            return "still_unknown"
        logger.warning("no trace of the create request, sending again", job_id=job.id, attempt=job.attempt)
        job = self.keeper.change(job, Resent())
        self.checkpoint("sweep.resent")
        self.queue.send(DispatchCommand(DispatchKind.SUBMIT, job.tenant, job.id, job.correlation_id))
        return "sent_again"

    def _find(self, job: Job) -> UpstreamPrediction | None:
        for prediction in self._around(job.sent_at or job.created_at):
            echoed = self.urls.read_url(prediction.webhook)
            if echoed is not None:
                ours = JobReference(job.tenant, job.id, job.attempt, job.correlation_id)
                if echoed == ours and self.store.own(prediction.id, job.tenant, job.id):
                    return prediction
            elif prediction.webhook is None and self._alike(job, prediction):
                if self.store.own(prediction.id, job.tenant, job.id):
                    return prediction
        return None

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

    def _alike(self, job: Job, prediction: UpstreamPrediction) -> bool:
        """Same model or version and same input, made no earlier than it was sent, as far as Replicate still
        tells.
        """
        submission = job.submission
        if submission.kind is SubmissionKind.VERSION and submission.version_id != "hidden":
            same_model = prediction.version == submission.version_id
        elif submission.kind is SubmissionKind.DEPLOYMENT:
            same_model = True
        else:
            same_model = prediction.model == submission.model
        return (
            same_model and _made_after(prediction, job) and prediction.input == self.documents.load(job.input)
        )


def _made_after(prediction: UpstreamPrediction, job: Job) -> bool:
    try:
        made = parse(prediction.created_at or "")
    except ValueError:
        return False
    return job.sent_at is None or made >= job.sent_at - _BEFORE
