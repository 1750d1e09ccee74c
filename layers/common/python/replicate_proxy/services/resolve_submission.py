"""Resolve a create request of unknown outcome: find its prediction, or resubmit once none was found.

Replicate's list of predictions is searched around the time of sending. A prediction with a callback URL
belongs to the job that the URL names. One without may be the job's if its model and input are equal, but
just as well that of another job with an equal request. The job adopts it only after the time in which a
callback would have come, only if no job of another tenant can have created it, also none that the index of
active jobs does not show yet, and only if there is one for each job that waits for one. Until then, and
where Replicate has deleted the input, lists an entry that cannot be read or compared, or has too many to
read all, the job waits: nothing is sent again while its prediction may exist, and nothing is taken that
another job would have to send again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Protocol

from replicate_proxy.clock import parse_timestamp
from replicate_proxy.contracts.commands import DispatchCommand, DispatchKind
from replicate_proxy.errors import ConflictError
from replicate_proxy.jobs.changes import (
    CheckScheduled,
    EndedByProxy,
    ResubmitAllowed,
    StaleChangeError,
)
from replicate_proxy.jobs.model import (
    KNOWN_OUTCOMES,
    AttemptOutcome,
    EndReason,
    Job,
    JobStatus,
    SubmissionKind,
)
from replicate_proxy.observability import Metric, count, logger
from replicate_proxy.ports import PredictionClaim
from replicate_proxy.services.check_outcome import CheckOutcome
from replicate_proxy.services.report_change import build_accepted_change
from replicate_proxy.services.sent_input import load_sent_input
from replicate_proxy.testing.checkpoints import Checkpoint, no_checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from replicate_proxy.jobs.model import Account
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
# How long a job waits for a callback or another job to tell which prediction is its own.
_MAX_DOUBT = timedelta(minutes=15)
# Every active job is due within a day: the longest interval between two checks is two hours.
_ALL_ACTIVE = timedelta(days=1)
_MAX_RIVALS = 2000
# The index that lists active jobs lags. After this time it shows the job that has created a prediction.
_MAX_INDEX_LAG = timedelta(minutes=2)
_HIDDEN_VERSION = "hidden"
_UNRESOLVED_ERROR = (
    "Whether Replicate accepted the request could not be determined. "
    "It was not sent again, because it might have been paid twice"
)


class PredictionLister(Protocol):
    """Lists recent predictions of one account on Replicate."""

    def list(
        self, *, created_after: datetime | None, created_before: datetime | None, cursor: str | None
    ) -> UpstreamPredictionPage: ...


class _Match(Enum):
    """What a listed prediction is to the job; the last two as in `_SearchResult`."""

    NONE = "none"
    OWN = "own"
    LOOKALIKE = "lookalike"
    DOUBTFUL = "doubtful"


@dataclass(frozen=True, slots=True)
class _SearchResult:
    """The job's own prediction, if one names the job; else what may be its own.

    `lookalikes` have the job's model and input and no owner. `is_doubtful`: one may be the job's, but its
    input is deleted, or its entry cannot be read or does not show all that is compared, or another job has
    ended that it may belong to as well, or there are too many to look at all of them.
    """

    own: UpstreamPrediction | None = None
    lookalikes: Sequence[UpstreamPrediction] = ()
    is_doubtful: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionResolver:
    """Resolves the submission of a job in status `submit_unknown`."""

    updater: JobUpdater
    store: JobStore
    documents: DocumentStore
    queue: CommandQueue
    get_lister: Callable[[Account], PredictionLister]
    urls: CallbackUrls
    clock: Clock
    timeouts: JobTimeouts
    checkpoint: Checkpoint = no_checkpoint

    def resolve(self, job: Job) -> CheckOutcome:
        """Record the job's prediction, wait for it, resubmit the job, or fail it.

        Raises RetryableError if Replicate's list could not be read.
        """
        search = self._search(job)
        if search.own is not None:
            self.updater.claim_prediction(job, search.own.id)
            return self._finish(self.updater.apply(job, build_accepted_change(job, search.own)))
        now = self.clock.now()
        waited_seconds = (now - _get_sending_time(job)).total_seconds()
        if job.checks == 0 or waited_seconds < self.timeouts.resubmit_after_seconds:
            return self._wait(job)
        is_last_chance = waited_seconds >= _MAX_DOUBT.total_seconds()
        if search.lookalikes:
            return self._adopt(job, search, is_last_chance=is_last_chance)
        if search.is_doubtful:
            return self._give_up(job) if is_last_chance else self._wait(job)
        if _count_resubmissions(job) >= self.timeouts.max_resubmissions:
            return self._give_up(job)
        return self._resubmit(job)

    def _wait(self, job: Job) -> CheckOutcome:
        next_check_at = self.clock.now() + timedelta(seconds=self.timeouts.unknown_outcome_seconds)
        self.updater.apply(job, CheckScheduled(expected_status=job.status, next_check_at=next_check_at))
        return CheckOutcome.STILL_UNKNOWN

    def _give_up(self, job: Job, lookalikes: Sequence[UpstreamPrediction] = ()) -> CheckOutcome:
        for prediction in lookalikes:
            name = job.account.qualify(prediction.id)
            self.store.dispute_prediction(name, job.tenant, job.id, now=self.clock.now())
        logger.error("submission not resolved, job failed", job_id=job.id, attempt=job.attempt)
        end = EndedByProxy.decide(job, JobStatus.FAILED, EndReason.UNRESOLVED, _UNRESOLVED_ERROR)
        self.updater.apply(job, end)
        return CheckOutcome.UNRESOLVED

    def _adopt(self, job: Job, search: _SearchResult, *, is_last_chance: bool) -> CheckOutcome:
        """Adopt the prediction that was created first, unless it may be that of another job.

        If there are too few, one of the jobs has none, and may be sent again. It can be any of them, except
        where this job's own may be one that no job adopts: then that would be paid for as well.
        """
        lookalikes = search.lookalikes
        if not is_last_chance and any(map(self._may_have_unlisted_owner, lookalikes)):
            return self._wait(job)
        rivals = self._find_rivals(job, lookalikes)
        is_scarce = rivals is None or len(rivals) >= len(lookalikes)
        if (
            rivals is None
            or any(rival.tenant != job.tenant for rival in rivals)
            or (is_scarce and search.is_doubtful)
        ):
            return self._give_up(job, lookalikes) if is_last_chance else self._wait(job)
        if is_scarce and not is_last_chance:
            return self._wait(job)
        # A job that was sent later looks for later ones, and may not find the earliest.
        earliest = min(lookalikes, key=partial(_calculate_seconds_after_sending, job))
        try:
            return self._finish(self.updater.adopt_prediction(job, build_accepted_change(job, earliest)))
        except ConflictError as error:
            raise StaleChangeError("the job or the owner of the prediction has changed") from error

    def _may_have_unlisted_owner(self, prediction: UpstreamPrediction) -> bool:
        return self.clock.now() - parse_timestamp(prediction.created_at or "") < _MAX_INDEX_LAG

    def _find_rivals(self, job: Job, predictions: Sequence[UpstreamPrediction]) -> Sequence[Job] | None:
        """Return the other jobs of the account that may have created any of these; None if too many to tell.

        The predictions were created before they were listed, so that the records of their jobs tell by now
        that a create request was sent whose outcome is unknown. Raises RetryableError if not all can be read.
        """
        rows = self.store.list_due_jobs(
            before=self.clock.now() + _ALL_ACTIVE, limit=_MAX_RIVALS, requires_all=True
        )
        if len(rows) >= _MAX_RIVALS:
            logger.warning("too many active jobs to find the owner of a prediction", job_id=job.id)
            return None
        ids_by_tenant: dict[str, list[str]] = {}
        for row in rows:
            if row.id != job.id:
                ids_by_tenant.setdefault(row.tenant, []).append(row.id)
        others = [
            other
            for tenant, ids in ids_by_tenant.items()
            for other in self.store.get_many(tenant, ids, consistent=True).values()
        ]
        return [
            other
            for other in others
            if other.account == job.account
            and _is_in_doubt(other)
            and any(self._may_own(other, prediction) for prediction in predictions)
        ]

    def _may_own(self, job: Job, prediction: UpstreamPrediction) -> bool:
        return self._compare_request(job, prediction) is not False

    def _compare_request(self, job: Job, prediction: UpstreamPrediction) -> bool | None:
        """Return whether model and input match; None if those match that the prediction shows."""
        is_same_model = _is_same_model(job, prediction)
        if is_same_model is False:
            return False
        return _match_both(is_same_model, self._has_same_input(job, prediction))

    def _has_same_input(self, job: Job, prediction: UpstreamPrediction) -> bool | None:
        """Return whether the prediction has the input that the job sends, None if it does not show it."""
        if prediction.data_removed or not isinstance(prediction.raw.get("input"), Mapping):
            return None
        return bool(prediction.input == load_sent_input(job, self.documents))

    def _finish(self, job: Job) -> CheckOutcome:
        """Check the job again at once: its prediction may have ended already."""
        self.checkpoint("sweep.acceptance_stored")
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

    def _search(self, job: Job) -> _SearchResult:
        """Search Replicate's list for the job's prediction and for those that look like it."""
        past_ids = {past.replicate_id for past in job.past_attempts}
        lookalikes: list[UpstreamPrediction] = []
        is_doubtful = False
        for number, page in enumerate(self._list_around(job), start=1):
            if page.unreadable_count:
                # Any of them may be the job's own, so that the job must not be sent again.
                is_doubtful = True
                logger.warning("listed predictions are unreadable", count=page.unreadable_count)
            for prediction in page.results:
                match = _Match.NONE if prediction.id in past_ids else self._match(job, prediction)
                if match is _Match.OWN:
                    return _SearchResult(own=prediction)
                if match is _Match.LOOKALIKE:
                    lookalikes.append(prediction)
                is_doubtful = is_doubtful or match is _Match.DOUBTFUL
            if number == _MAX_PAGES and page.next_cursor is not None:
                # The job's own may be among the others, of which there will be as many next time.
                is_doubtful = True
                logger.warning("too many predictions around the time of sending", job_id=job.id)
        return _SearchResult(lookalikes=lookalikes, is_doubtful=is_doubtful)

    def _match(self, job: Job, prediction: UpstreamPrediction) -> _Match:
        attempt = self.urls.parse_url(prediction.webhook)
        if attempt is not None:
            is_own = (attempt.tenant, attempt.job_id) == (job.tenant, job.id)
            return _Match.OWN if is_own else _Match.NONE
        if prediction.webhook is not None:
            return _Match.NONE
        is_alike = self._looks_alike(job, prediction)
        if is_alike is False:
            return _Match.NONE
        owner = self.store.get_prediction_owner(job.account.qualify(prediction.id))
        if owner is None:
            return _Match.LOOKALIKE if is_alike else _Match.DOUBTFUL
        if owner.claim is PredictionClaim.DISPUTED:
            return _Match.DOUBTFUL
        return _Match.OWN if (owner.tenant, owner.job_id) == (job.tenant, job.id) else _Match.NONE

    def _list_around(self, job: Job) -> Iterator[UpstreamPredictionPage]:
        lister, sending_time = self.get_lister(job.account), _get_sending_time(job)
        cursor: str | None = None
        for _ in range(_MAX_PAGES):
            page = lister.list(
                created_after=sending_time - _MAX_BEFORE_SENDING,
                created_before=sending_time + _MAX_AFTER_SENDING,
                cursor=cursor,
            )
            yield page
            cursor = page.next_cursor
            if cursor is None:
                return

    def _looks_alike(self, job: Job, prediction: UpstreamPrediction) -> bool | None:
        """Return whether time, model and input match; None if those match that the prediction shows."""
        is_timely = _is_created_after_sending(job, prediction)
        if is_timely is False:
            return False
        return _match_both(is_timely, self._compare_request(job, prediction))


def _match_both(first: bool | None, second: bool | None) -> bool | None:
    """Return whether both match; None if the one does, or neither, and the rest is not shown."""
    if first is False or second is False:
        return False
    return True if first and second else None


def _is_in_doubt(job: Job) -> bool:
    """Return whether the job has sent a create request whose prediction it does not know."""
    if job.replicate_id is not None:
        return False
    return job.status in {JobStatus.SUBMITTING, JobStatus.SUBMIT_UNKNOWN} or any(
        past.outcome is AttemptOutcome.UNKNOWN for past in job.past_attempts
    )


def _is_same_model(job: Job, prediction: UpstreamPrediction) -> bool | None:
    """Return whether the prediction runs the job's model, as far as Replicate shows it; None if it does not.

    Replicate shows no version for official models, whichever version was requested.
    """
    submission = job.submission
    shows_version = prediction.version != _HIDDEN_VERSION
    if submission.kind is SubmissionKind.DEPLOYMENT:
        return True
    if submission.kind is SubmissionKind.VERSION:
        if submission.version_id != _HIDDEN_VERSION and shows_version:
            return prediction.version == submission.version_id if prediction.version else None
        if not submission.model_name and job.model is None:
            return not shows_version
    return prediction.model == (submission.model_name or job.model) if prediction.model else None


def _is_created_after_sending(job: Job, prediction: UpstreamPrediction) -> bool | None:
    """Return whether the prediction may be of this sending by its time, None if it shows none."""
    seconds = _calculate_seconds_after_sending(job, prediction)
    return seconds >= -_MAX_BEFORE_SENDING.total_seconds() if seconds != -math.inf else None


def _calculate_seconds_after_sending(job: Job, prediction: UpstreamPrediction) -> float:
    """Return the seconds from the sending to the creation, negative infinity if that is unknown."""
    try:
        created_at = parse_timestamp(prediction.created_at or "")
    except ValueError:
        return -math.inf
    return (created_at - _get_sending_time(job)).total_seconds()


def _get_sending_time(job: Job) -> datetime:
    return job.create_sent_at or job.created_at


def _count_resubmissions(job: Job) -> int:
    return sum(past.outcome not in KNOWN_OUTCOMES for past in job.past_attempts)
