"""Broken variants of what keeps a request from being paid twice: claims, creates, and searches for them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from replicate_proxy.aws import job_store
from replicate_proxy.aws.dynamodb import to_item
from replicate_proxy.aws.idempotency_store import DynamoIdempotencyStore
from replicate_proxy.aws.job_records import record_from_job
from replicate_proxy.errors import RetryableError
from replicate_proxy.jobs import reports
from replicate_proxy.jobs.model import ReportChannel
from replicate_proxy.jobs.reports import _match_attempt
from replicate_proxy.jobs.updater import JobUpdater
from replicate_proxy.operations.job_retries import RetryReservations
from replicate_proxy.replicate_api.errors import NotAcceptedError, OutcomeUnknownError, RejectedError
from replicate_proxy.replicate_api.predictions import UpstreamPredictionWriter
from replicate_proxy.services import resolve_submission
from replicate_proxy.services.cancel_prediction import PredictionCanceler
from replicate_proxy.services.dispatch import Dispatcher
from replicate_proxy.services.resolve_submission import SubmissionResolver, _SearchResult
from tools.simulation.decisions import Rates
from tools.simulation.faults import FaultMix
from tools.simulation.mutants.mutant import Mutant
from tools.simulation.run import RunSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from replicate_proxy.jobs.changes import Reported
    from replicate_proxy.jobs.model import Job

_WITH_FALLBACKS = RunSettings(jobs=25, fallback_share=1.0)
_WITH_RETRIES = RunSettings(jobs=25, retry_share=1.0)


def _save_without_condition(self: Any, job: Job) -> Job:
    saved = replace(job, revision=job.revision + 1)
    self._client.put_item(TableName=self._table, Item=to_item(record_from_job(saved)))
    return saved


def _create_as_if_not_accepted(self: Any, *arguments: Any, **options: Any) -> Any:
    try:
        return _create(self, *arguments, **options)
    except OutcomeUnknownError as error:
        raise NotAcceptedError("taken for not accepted") from error


def _create_again_if_rejected(self: Any, *arguments: Any, **options: Any) -> Any:
    try:
        return _create(self, *arguments, **options)
    except RejectedError as error:
        raise NotAcceptedError("taken for transient") from error


def _create_once(self: Any, *arguments: Any, **options: Any) -> Any:
    try:
        return _create(self, *arguments, **options)
    except NotAcceptedError as error:
        raise RejectedError(503, "taken for permanent", "") from error


def _cancel_or_fail(self: Any, job: Job) -> Any:
    prediction = self.get_client(job.account).cancel(job.replicate_id)
    return prediction if prediction.status in {"canceled", "aborted"} else None


def _postpone_by_failing(_self: Any, _job: Job, delay_seconds: float, *_reason: Any) -> None:
    raise RetryableError("not now", retry_after=delay_seconds)


def _match_as_if_called_back(job: Job, change: Reported, now: datetime) -> Job:
    return _match_attempt(job, replace(change, channel=ReportChannel.WEBHOOK), now)


def _claim_without_revoking(self: Any, job: Job, replicate_id: str) -> None:
    self._store.claim_prediction(replicate_id, job.tenant, job.id, now=self._clock.now())


def _transfer_in_two_writes(self: Any, *arguments: Any, changed: Sequence[Job], now: datetime) -> list[Job]:
    saved = [self.save(job) for job in changed]
    _transfer(self, *arguments, changed=(), now=now)
    return saved


def _transfer_and_save_later(
    self: Any, replicate_id: str, owner: Any, job: Job, *, changed: Sequence[Job], now: datetime
) -> list[Job]:
    others = [one for one in changed if one is not job]
    saved = [*_transfer(self, replicate_id, owner, job, changed=others, now=now)]
    return [*saved, self.save(job)] if job in changed else saved


LATE_WEBHOOKS = FaultMix(
    replicate_creates=Rates(reset=0.15, response_lost=0.3), webhooks=Rates(lost=0.2, very_late=0.7)
)
_UNKNOWN_OUTCOMES = FaultMix(
    replicate_creates=Rates(reset=0.3, response_lost=0.5), webhooks=Rates(lost=0.3, very_late=0.7)
)
_UNHEARD_CREATES = FaultMix(
    replicate_creates=Rates(status_500_after=0.4, reset=0.1), webhooks=Rates(lost=0.7)
)
_create: Callable[..., Any] = UpstreamPredictionWriter.create
_transfer: Callable[..., Any] = job_store.DynamoJobStore.transfer_prediction

SUBMISSION_MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "jobs are saved whatever their revision",
        "never paid twice",
        ((job_store.DynamoJobStore, "save", _save_without_condition),),
    ),
    Mutant(
        "an unknown outcome counts as not accepted",
        "never paid twice",
        ((UpstreamPredictionWriter, "create", _create_as_if_not_accepted),),
    ),
    Mutant(
        "a job is sent again without a look at Replicate's list",
        "never paid twice",
        ((SubmissionResolver, "_search", lambda _self, _job: _SearchResult()),),
    ),
    Mutant(
        "equal requests of other tenants do not matter",
        "tenants are isolated",
        ((SubmissionResolver, "_find_rivals", lambda _self, _job, _predictions: []),),
        mix=LATE_WEBHOOKS,
    ),
    Mutant(
        "what an ended job may own is adopted by others",
        "tenants are isolated",
        ((job_store.DynamoJobStore, "dispute_prediction", lambda *_arguments, **_options: None),),
        mix=_UNKNOWN_OUTCOMES,
    ),
    Mutant(
        "an adopted prediction is kept when it proves to be another job's",
        "a prediction is held by one job",
        ((JobUpdater, "_claim", _claim_without_revoking),),
        scenario="adoption",
        script={"sweep-15.2/1": "pause 60"},
    ),
    Mutant(
        "a prediction is taken from its adopter before it is its own job's",
        "never paid twice",
        ((job_store.DynamoJobStore, "transfer_prediction", _transfer_in_two_writes),),
        scenario="adoption",
        script={"ingest-2/1": "crash_before", "track-2/5": "crash_after"},
    ),
    Mutant(
        "a job gets its prediction back before its record says so",
        "never paid twice",
        ((job_store.DynamoJobStore, "transfer_prediction", _transfer_and_save_later),),
        scenario="adoption",
        script={"dispatch-3/4": "crash_after", "track-2/5": "crash_after"},
    ),
    Mutant(
        "a poll proves whose prediction it has read",
        "a prediction is held by one job",
        ((reports, "_match_attempt", _match_as_if_called_back),),
        scenario="adoption",
        script={"ingest-2/1": "crash_before", "track-1/1": "pause 60"},
    ),
    Mutant(
        "a prediction is adopted before the index shows whose it may be as well",
        "tenants are isolated",
        ((resolve_submission, "_MAX_INDEX_LAG", timedelta()),),
        scenario="adoption-lag",
    ),
    Mutant(
        "the search for a prediction does not know how a fallback names its input",
        "never paid twice",
        ((resolve_submission, "load_sent_input", lambda job, documents: documents.load(job.input)),),
        mix=_UNHEARD_CREATES,
        settings=_WITH_FALLBACKS,
    ),
    Mutant(
        "a permanent failure is retried",
        "a permanent failure is reported",
        ((UpstreamPredictionWriter, "create", _create_again_if_rejected),),
    ),
    Mutant(
        "a transient failure ends the job",
        "a transient failure is retried",
        ((UpstreamPredictionWriter, "create", _create_once),),
    ),
    Mutant(
        "a cancel that fails is received again",
        "waiting uses up no receives",
        ((PredictionCanceler, "_cancel_prediction", _cancel_or_fail),),
        scenario="cancel-waits",
        script={},
    ),
    Mutant(
        "a waiting message is received again instead of being sent again",
        "waiting uses up no receives",
        ((Dispatcher, "_postpone", _postpone_by_failing),),
        scenario="create-waits",
        script={},
    ),
    Mutant(
        "idempotency keys are not shared",
        "one job per idempotency key",
        ((DynamoIdempotencyStore, "claim", lambda _self, record, **_: record),),
    ),
    Mutant(
        "operators who retry the same job do not learn of each other's",
        "a job has one retry",
        ((RetryReservations, "claim", lambda _self, record, **_now: record),),
        settings=_WITH_RETRIES,
    ),
)
