"""Resolve a create request of unknown outcome: find its prediction, or resubmit once none was found.

Replicate's list of predictions is searched around the time of sending. A prediction with a callback URL
belongs to the job that the URL names. One without matches if its model and input are equal. It may match
several jobs with identical requests, so a job claims a prediction before it records it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol

from replicate_proxy.clock import parse_timestamp
from replicate_proxy.contracts.commands import DispatchCommand, DispatchKind
from replicate_proxy.errors import RetryableError
from replicate_proxy.jobs.changes import CheckScheduled, EndedByProxy, EndReason, ResubmitAllowed
from replicate_proxy.jobs.model import AttemptOutcome, Job, JobStatus, SubmissionKind
from replicate_proxy.observability import Metric, count, logger
from replicate_proxy.services.check_outcome import CheckOutcome
from replicate_proxy.services.report_change import build_accepted_change
from replicate_proxy.testing.checkpoints import Checkpoint, no_checkpoint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from replicate_proxy.jobs.timeouts import JobTimeouts
    from replicate_proxy.jobs.updater import JobUpdater
    from replicate_proxy.ports import Clock, CommandQueue, DocumentStore, JobStore
    from replicate_proxy.replicate_api.callback_url import CallbackUrls
    from replicate_proxy.replicate_api.models import UpstreamPrediction, UpstreamPredictionPage


# How far from the time of sending a prediction may have been created: Replicate's clock may be behind ours,
# and it may create a prediction some time after it received the request.
_MAX_BEFORE_SENDING = timedelta(seconds=30)
_MAX_AFTER_SENDING = timedelta(minutes=5)
_MAX_PAGES = 50
_HIDDEN_VERSION = "hidden"
_UNRESOLVED_ERROR = (
    "Whether Replicate accepted the request could not be determined. "
    "It was not sent again, because it might have been paid twice"
)


class PredictionLister(Protocol):
    """Lists recent predictions of the account on Replicate."""

    def list(
        self, *, created_after: datetime | None, created_before: datetime | None, cursor: str | None
    ) -> UpstreamPredictionPage: ...


class _SearchResult(NamedTuple):
    """The job's prediction, if found; `is_ambiguous` if one may be the job's, but its input is deleted."""

    prediction: UpstreamPrediction | None
    is_ambiguous: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionResolver:
    """Resolves the submission of a job in status `submit_unknown`."""

    updater: JobUpdater
    store: JobStore
    documents: DocumentStore
    queue: CommandQueue
    lister: PredictionLister
    urls: CallbackUrls
    clock: Clock
    timeouts: JobTimeouts
    checkpoint: Checkpoint = no_checkpoint

    def resolve(self, job: Job) -> CheckOutcome:
        """Record the job's prediction, wait for it, resubmit the job, or fail it.

        Raises RetryableError if Replicate's list could not be read.
        """
        prediction, is_ambiguous = self._find_prediction(job)
        if prediction is not None:
            return self._record_prediction(job, prediction)
        now = self.clock.now()
        seconds_since_sending = (now - _get_sending_time(job)).total_seconds()
        if job.checks == 0 or seconds_since_sending < self.timeouts.resubmit_after_seconds:
            next_check_at = now + timedelta(seconds=self.timeouts.unknown_outcome_seconds)
            self.updater.apply(job, CheckScheduled(expected_status=job.status, next_check_at=next_check_at))
            return CheckOutcome.STILL_UNKNOWN
        if is_ambiguous or _count_resubmissions(job) >= self.timeouts.max_resubmissions:
            logger.error("submission not resolved, job failed", job_id=job.id, attempt=job.attempt)
            self.updater.apply(job, EndedByProxy(JobStatus.FAILED, EndReason.UNRESOLVED, _UNRESOLVED_ERROR))
            return CheckOutcome.UNRESOLVED
        return self._resubmit(job)

    def _record_prediction(self, job: Job, prediction: UpstreamPrediction) -> CheckOutcome:
        job = self.updater.apply(job, build_accepted_change(job, prediction))
        self.checkpoint("sweep.acceptance_stored")
        # The prediction may have ended already, so the job is checked again at once.
        check = CheckScheduled(
            expected_status=job.status, next_check_at=self.clock.now(), increments_backoff=False
        )
        self.updater.apply(job, check)
        count(Metric.SUBMISSION_RESOLVED)
        return CheckOutcome.PREDICTION_FOUND

    def _resubmit(self, job: Job) -> CheckOutcome:
        logger.warning("no prediction found, resubmitting", job_id=job.id, attempt=job.attempt)
        job = self.updater.apply(job, ResubmitAllowed(attempt=job.attempt))
        self.checkpoint("sweep.resubmission_stored")
        if not job.is_terminal:
            self.queue.send(DispatchCommand.for_job(DispatchKind.SUBMIT, job))
        return CheckOutcome.RESUBMITTED

    def _find_prediction(self, job: Job) -> _SearchResult:
        """Search for the job's prediction and claim it."""
        past_ids = {past.replicate_id for past in job.past_attempts}
        ambiguous_matches: list[UpstreamPrediction] = []
        for prediction in self._list_around(_get_sending_time(job)):
            if prediction.id in past_ids:
                continue
            attempt = self.urls.parse_url(prediction.webhook)
            if attempt is not None:
                is_same_job = (attempt.tenant, attempt.job_id) == (job.tenant, job.id)
                if is_same_job and self._claim(job, prediction):
                    return _SearchResult(prediction)
            elif prediction.webhook is None and self._matches(job, prediction):
                ambiguous_matches.append(prediction)
        return self._claim_closest(job, ambiguous_matches)

    def _claim_closest(self, job: Job, matches: list[UpstreamPrediction]) -> _SearchResult:
        """Claim a match: one that this job claimed before, else the one created closest to the sending."""
        claimed = [match for match in matches if self.store.get_prediction_owner(match.id) == job.id]
        for match in claimed or sorted(matches, key=partial(_calculate_distance, job)):
            if self._claim(job, match):
                # Without its data, the input of the match cannot be compared.
                is_ambiguous = match.data_removed
                return _SearchResult(None if is_ambiguous else match, is_ambiguous)
        return _SearchResult(None)

    def _claim(self, job: Job, prediction: UpstreamPrediction) -> bool:
        return self.store.claim_prediction(prediction.id, job.tenant, job.id)

    def _list_around(self, sending_time: datetime) -> Iterator[UpstreamPrediction]:
        cursor: str | None = None
        for _ in range(_MAX_PAGES):
            page = self.lister.list(
                created_after=sending_time - _MAX_BEFORE_SENDING,
                created_before=sending_time + _MAX_AFTER_SENDING,
                cursor=cursor,
            )
            yield from page.results
            cursor = page.next_cursor
            if cursor is None:
                return
        raise RetryableError("too many predictions around the time of sending to search them all")

    def _matches(self, job: Job, prediction: UpstreamPrediction) -> bool:
        """Return whether time, model and input match. The deleted input of a prediction matches any input."""
        if not _is_created_after_sending(job, prediction) or not _is_same_model(job, prediction):
            return False
        return prediction.data_removed or prediction.input == self.documents.load(job.input)


def _is_same_model(job: Job, prediction: UpstreamPrediction) -> bool:
    """Return whether the prediction runs the job's model, as far as Replicate shows it.

    Replicate shows no version for official models, whichever version was requested.
    """
    submission = job.submission
    shows_version = prediction.version != _HIDDEN_VERSION
    if submission.kind is SubmissionKind.DEPLOYMENT:
        return True
    if submission.kind is SubmissionKind.VERSION:
        if submission.version_id != _HIDDEN_VERSION and shows_version:
            return prediction.version == submission.version_id
        if not submission.model_name:
            return not shows_version and job.model in {None, prediction.model}
    return prediction.model == submission.model_name


def _is_created_after_sending(job: Job, prediction: UpstreamPrediction) -> bool:
    _, seconds_after = _calculate_distance(job, prediction)
    return seconds_after >= -_MAX_BEFORE_SENDING.total_seconds()


def _calculate_distance(job: Job, prediction: UpstreamPrediction) -> tuple[float, float]:
    """Return the seconds from the sending to the creation: the absolute value, then with its sign."""
    try:
        created_at = parse_timestamp(prediction.created_at or "")
    except ValueError:
        return math.inf, -math.inf
    seconds = (created_at - _get_sending_time(job)).total_seconds()
    return abs(seconds), seconds


def _get_sending_time(job: Job) -> datetime:
    return job.create_sent_at or job.created_at


def _count_resubmissions(job: Job) -> int:
    return sum(1 for past in job.past_attempts if past.outcome is not AttemptOutcome.FAILED)
