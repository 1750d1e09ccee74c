"""The records of the pipeline: a job is one prediction request, a batch is several of them. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from replicate_proxy.batches.model import LargeBatch


class JobStatus(StrEnum):
    """The states of a job; `jobs.state_machine` has the transitions."""

    QUEUED = "queued"
    SUBMITTING = "submitting"
    SUBMIT_UNKNOWN = "submit_unknown"
    SUBMITTED = "submitted"
    PROCESSING = "processing"
    HARVESTING = "harvesting"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"


TERMINAL_STATUSES = frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELED})
ACTIVE_STATUSES = frozenset(JobStatus) - TERMINAL_STATUSES


class SubmissionKind(StrEnum):
    """Replicate's three create endpoints."""

    VERSION = "predictions"
    MODEL = "models"
    DEPLOYMENT = "deployments"


@dataclass(frozen=True, slots=True)
class Submission:
    """The model to run: a `version` reference, an official model or a deployment (both `owner`/`name`)."""

    kind: SubmissionKind
    version: str | None = None
    owner: str | None = None
    name: str | None = None

    @property
    def model_name(self) -> str:
        """`owner/name`, or an empty string where the request has only a version ID."""
        if self.owner and self.name:
            return f"{self.owner}/{self.name}"
        reference = self.version or ""
        return reference.partition(":")[0] if "/" in reference else ""

    @property
    def target(self) -> str:
        """The name under which a model entry has it as a target."""
        if self.kind is SubmissionKind.DEPLOYMENT:
            return f"deployments/{self.model_name}"
        return self.version or self.model_name

    @property
    def version_id(self) -> str:
        """The version ID, or `hidden` for models without versions, as in Replicate's OpenAPI document."""
        reference = self.version or ""
        if ":" in reference:
            return reference.partition(":")[2]
        return reference if reference and "/" not in reference else "hidden"


@dataclass(frozen=True, slots=True)
class Account:
    """An account at Replicate: one that a tenant has brought, or the deployment's, which has no name here.

    A tenant's account has rate limits, circuit breaker and known models of its own, under qualified keys.
    """

    tenant: str = ""
    name: str = ""

    @property
    def is_shared(self) -> bool:
        """Whether it is the deployment's account, which all tenants without one of their own share."""
        return not self.name

    def qualify(self, key: str) -> str:
        """Return the key for this account: as it is for the shared one."""
        return key if self.is_shared else f"{key}@{self.tenant}/{self.name}"


SHARED_ACCOUNT = Account()


@dataclass(frozen=True, slots=True)
class Document:
    """A JSON value that belongs to a job: stored inline as JSON `text`, or in S3 under `object_key`.

    An object can be overwritten: its `digest` makes documents with the same key and other values unequal. It
    is None in records that were written before it existed.
    """

    text: str | None = None
    object_key: str | None = None
    digest: str | None = None


class ReportChannel(StrEnum):
    """How Replicate's report about a prediction reached us."""

    WEBHOOK = "webhook"
    POLL = "poll"
    # Not a new report: the harvest of a known result continues.
    CONTINUATION = "continuation"
    # Nor is this: an operator has the files fetched again that a finished harvest has left at Replicate.
    REPEATED_HARVEST = "repeated_harvest"


class TimelineStep(StrEnum):
    """The steps of a job whose times its timeline records."""

    ACCEPTED = "accepted"
    CLAIMED = "claimed"
    SUBMITTED = "submitted"
    STARTED = "started"
    REPORTED = "reported"
    HARVESTING = "harvesting"
    FINISHED = "finished"


class EndReason(StrEnum):
    """Why a job ended: how its metric tells apart the ends of one status."""

    HARVESTED = "harvested"
    # Files were left at Replicate, since the harvest could not finish while it had them.
    HARVEST_GIVEN_UP = "harvest_given_up"
    # Replicate reported that the prediction failed or was canceled.
    REPORTED = "reported"
    # Replicate rejected the create request, or did so because the account has no credit.
    REJECTED = "rejected"
    NO_CREDIT = "no_credit"
    # The job waited in the queue for too long, or its own deadline passed there.
    EXPIRED = "expired"
    DEADLINE_PASSED = "deadline_passed"
    OUTPUT_LOST = "output_lost"
    # Replicate ended the prediction with a status that it does not document.
    UNKNOWN_STATUS = "unknown_status"
    # It could not be determined whether Replicate has accepted the create request.
    UNRESOLVED = "unresolved"
    CANCEL_REQUESTED = "cancel_requested"
    # The tenant's account at Replicate has not accepted its token for a day.
    ACCOUNT_LOST = "account_lost"


class AttemptOutcome(StrEnum):
    """How an attempt ended whose outcome did not become the job's."""

    # The prediction failed with a transient error.
    FAILED = "failed"
    # The outcome of the create request stayed unknown: the prediction may still exist and report.
    UNKNOWN = "unknown"
    # Replicate reported on an earlier attempt of unknown outcome, which took the place of this one.
    REPLACED = "replaced"
    # Replicate rejected the create request: the target of the attempt does not exist any more.
    REJECTED = "rejected"
    # The queue time was over the limit: before a create request was sent, and after it.
    NOT_SENT = "not_sent"
    CANCELED = "canceled"


# Of attempts that have no prediction, or one that has ended.
KNOWN_OUTCOMES = frozenset(AttemptOutcome) - {AttemptOutcome.UNKNOWN, AttemptOutcome.REPLACED}


@dataclass(frozen=True, slots=True, kw_only=True)
class PastAttempt:
    """An earlier attempt at Replicate; `replicate_id` is None if its prediction is not known.

    `target` is what it ran, as a model entry names it; None in records of earlier versions. `cost` is set if
    it was canceled: the other outcomes are free, or their cost is not known.
    """

    attempt: int
    outcome: AttemptOutcome
    replicate_id: str | None
    error: str
    ended_at: datetime
    target: str | None = None
    cost: Cost | None = None


class FallbackCause(StrEnum):
    """What may make a job go on with its next fallback."""

    # The model failed with a transient error once more than it is retried.
    TRANSIENT_FAILURE = "transient_failure"
    # Replicate does not know the model, version or deployment.
    TARGET_GONE = "target_gone"
    # It has not started to run within the time that the entry allows.
    QUEUE_TIME = "queue_time"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fallback:
    """What a job runs next. `fields` renames fields of the input, or leaves out those that are None.

    `price` is a record of `costs.prices.Price`; None for what is known about the model.
    """

    submission: Submission
    fields: Mapping[str, str | None] = field(default_factory=dict)
    price: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a job cost at Replicate, in millionths of a US dollar; or None, and the `reason`.

    `basis` is the calculation, `source` and `as_of` (ISO date) say where its price is from, if it needs one.
    """

    micro_usd: int | None = None
    reason: str = ""
    is_estimated: bool = False
    basis: str = ""
    source: str = ""
    as_of: str = ""


class WaitReason(StrEnum):
    """Why a job has to wait before it is sent to Replicate."""

    CONCURRENCY_LIMIT = "concurrency_limit"
    OPERATOR_PAUSE = "operator_pause"
    RATE_LIMIT = "rate_limit"
    CIRCUIT_OPEN = "circuit_open"
    # Replicate rejects the token of the account, its own or the deployment's.
    TOKEN_REJECTED = "token_rejected"  # noqa: S105 - a reason, no secret
    # Replicate did not accept the request for another reason, such as no connection.
    NOT_ACCEPTED = "not_accepted"
    # An operator has to correct a setting.
    CONFIGURATION = "configuration"


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Why a queued job waits, as of the latest attempt to send it.

    `limit` is the name of the concurrency limit whose line the job is in, with its number of slots; `until`
    is when it is tried next, where that is known; `detail` is an operator's text.
    """

    reason: WaitReason
    limit: str = ""
    max_concurrency: int | None = None
    until: datetime | None = None
    detail: str = ""

    @property
    def is_for_model(self) -> bool:
        """Return whether it waits for a slot of its model, which no other model needs."""
        return self.limit.startswith("model/")


@dataclass(frozen=True, slots=True)
class Reservation:
    """What a job has reserved of budgets, in millionths of a US dollar, in which windows of its tenant."""

    micro_usd: int
    windows: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The record of one prediction request. All times are UTC.

    `revision` grows by one with each save and is the condition of the next. The sweep checks the job at
    `next_check_at` even if nothing else happens; it is None once the job is terminal.
    """

    tenant: str
    id: str
    status: JobStatus
    created_at: datetime
    submission: Submission
    input: Document
    correlation_id: str
    public_base_url: str
    revision: int = 0
    next_check_at: datetime | None = None
    key_id: str = ""
    batch_id: str | None = None
    # Its line in the input file of a large batch, and the caller's name for it.
    batch_line: int | None = None
    custom_id: str | None = None
    # The ended job that an operator has retried by this one, and the one that retries this one.
    retried_from: str | None = None
    retried_as: str | None = None
    webhook: str | None = None
    webhook_events: tuple[str, ...] | None = None
    # What the caller finds it by, see `jobs.metadata`.
    metadata: Mapping[str, str] = field(default_factory=dict)
    image_options: Mapping[str, Any] = field(default_factory=dict)
    deadline: datetime | None = None
    # The current attempt at Replicate and the ones before it.
    attempt: int = 1
    past_attempts: tuple[PastAttempt, ...] = ()
    lease_until: datetime | None = None
    create_sent_at: datetime | None = None
    # The name of the tenant's own account that the attempts run in, empty for the shared one. Set by each
    # claim; once an attempt may have a prediction, it does not change.
    replicate_account: str = ""
    # Create requests that Replicate did not accept, and checks without progress; both lengthen a backoff.
    failed_submissions: int = 0
    checks: int = 0
    replicate_id: str | None = None
    report_channel: ReportChannel | None = None
    model: str | None = None
    version: str | None = None
    cancel_requested_at: datetime | None = None
    # The caller reads the stream of the prediction, and the URL that serves it to whoever has it.
    is_streamed: bool = False
    # About fields of the input that the model does not know.
    warnings: tuple[str, ...] = ()
    stream_url: str | None = field(default=None, repr=False)
    # Replicate's result (`replicate_output` has its own URLs) and the final output after the harvest.
    started_at: datetime | None = None
    completed_at: datetime | None = None
    replicate_status: str | None = None
    replicate_output: Document | None = None
    output: Document | None = None
    files: Document | None = None
    # What the keys of its files begin with if they are private, "" if they are public; None before its first
    # harvest, which decides that by the setting of the tenant.
    private_folder: str | None = None
    logs: Document | None = None
    # What a running prediction has written so far; `progress_at` is when the latest of it was reported.
    partial_output: Document | None = None
    progress_at: datetime | None = None
    error: str | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    # Why it waits in the queue, and the concurrency limits in which it has slots since its latest claim, or
    # since it is in line for another one.
    waiting: Waiting | None = None
    limits: tuple[str, ...] = ()
    # The model entry that it was accepted with.
    entry_name: str | None = None
    # The model that the caller named, if its entry runs another, and the price of that entry.
    requested_model: str | None = None
    price: Mapping[str, str] | None = None
    # What else may run, for which causes, and how the present one names the fields of the input.
    fallbacks: tuple[Fallback, ...] = ()
    fallback_causes: tuple[FallbackCause, ...] = ()
    input_fields: Mapping[str, str | None] = field(default_factory=dict)
    # After which queue time the next fallback runs, when the present attempt will have waited for that long,
    # and since when its prediction is to be canceled for it.
    fallback_after_seconds: int | None = None
    fallback_due_at: datetime | None = None
    abandoned_at: datetime | None = None
    # Made with the job where there is a budget, and settled once it has ended.
    reservation: Reservation | None = None
    # Calculated once, when the job ends, and why it did.
    cost: Cost | None = None
    end_reason: EndReason | None = None
    timeline: Mapping[TimelineStep, datetime] = field(default_factory=dict)
    # When the sweep deletes the job once it has ended, and whether with its output files.
    delete_at: datetime | None = None
    deletes_files: bool = False
    # Of the idempotency key that it was created with.
    idempotency_hash: str | None = None
    # Unix time after which DynamoDB deletes the record, if the sweep has not.
    expires_at: int | None = None

    @property
    def wait_reason(self) -> WaitReason | None:
        """Return why a queued job waits, None where that is not known."""
        is_queued = self.status is JobStatus.QUEUED
        return self.waiting.reason if is_queued and self.waiting is not None else None

    @property
    def is_terminal(self) -> bool:
        return self.status in TERMINAL_STATUSES

    @property
    def account(self) -> Account:
        """The account in which the predictions of the job run."""
        return Account(self.tenant, self.replicate_account) if self.replicate_account else SHARED_ACCOUNT

    @property
    def has_fallen_back(self) -> bool:
        """Return whether another target was tried before the present one."""
        return any(past.target not in {None, self.submission.target} for past in self.past_attempts)


# A batch and its jobs are written in one transaction, which holds 100 items and 4 MB (Amazon DynamoDB,
# "Amazon DynamoDB Transactions: How it works"); a job takes a few kilobytes, since larger inputs are in S3.
MAX_BATCH_JOBS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The jobs of one batch request.

    `job_ids` are those of a batch that was created as a whole: its record never changes, as each job has its
    own status. The jobs of a large batch come from a file, and its record has the progress of that.
    """

    tenant: str
    id: str
    created_at: datetime
    public_base_url: str
    job_ids: tuple[str, ...] = ()
    idempotency_hash: str | None = None
    expires_at: int | None = None
    large: LargeBatch | None = None
    revision: int = 0
