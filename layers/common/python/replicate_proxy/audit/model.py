"""Records of the audit trail, and the chain of hashes that makes a later change of them visible. No I/O."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from replicate_proxy.errors import (
    ApiError,
    ConflictError,
    DuplicateError,
    NotFoundError,
    PermanentError,
    ProxyError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


# The hash before that of the first record.
GENESIS_HASH = "0" * 64
# What a record says about one state: several times the largest key or model entry in common use.
_MAX_STATE_BYTES = 16_000
_MAX_ERROR_CHARACTERS = 500
# Errors after which the change was not made. Any other may have come after it.
_REFUSALS = (ApiError, ConflictError, DuplicateError, NotFoundError, PermanentError)


class AuditAction(StrEnum):
    """What operators do."""

    CREATE_KEY = "key.create"
    UPDATE_KEY = "key.update"
    ROTATE_KEY = "key.rotate"
    REVOKE_KEY = "key.revoke"
    PUT_TENANT = "tenant.put"
    START_ERASURE = "erasure.start"
    EMPTY_TENANT = "erasure.empty"
    END_ERASURE = "erasure.end"
    PUT_MODEL_ENTRY = "model.put"
    DELETE_MODEL_ENTRY = "model.delete"
    REPLACE_MODEL_ENTRIES = "models.replace"
    PUT_REPLICATE_TOKEN = "replicate_token.put"  # noqa: S105 - the name of an action
    DELETE_REPLICATE_TOKEN = "replicate_token.delete"  # noqa: S105 - the name of an action
    PUT_BUDGET = "budget.put"
    DELETE_BUDGET = "budget.delete"
    PUT_CONCURRENCY = "concurrency.put"
    DELETE_CONCURRENCY = "concurrency.delete"
    PAUSE = "pause"
    RESUME = "resume"
    REDRIVE = "queue.redrive"
    DISCARD = "queue.discard"
    CANCEL_JOB = "job.cancel"
    REDELIVER_JOB = "job.redeliver"
    HARVEST_JOB = "job.harvest"
    RETRY_JOB = "job.retry"
    DELETE_JOB = "job.delete"
    START_BULK_OPERATION = "bulk_operation.start"
    CANCEL_BULK_OPERATION = "bulk_operation.cancel"
    END_BULK_OPERATION = "bulk_operation.end"
    REDELIVER = "delivery.redeliver"
    REDELIVER_FAILED = "deliveries.redeliver"
    TRIP_BREAKER = "breaker.trip"
    RESET_BREAKER = "breaker.reset"
    START_REPLAY = "replay.start"
    CANCEL_REPLAY = "replay.cancel"
    REFRESH_WEBHOOK_SECRET = "webhook_secret.refresh"  # noqa: S105 - the name of an action
    CREATE_CONSOLE_LINK = "console_link.create"
    OPEN_CONSOLE_LINK = "console_link.open"
    CREATE_PREDICTION = "prediction.create"
    CANCEL_BATCH = "batch.cancel"
    CREATE_ENDPOINT = "endpoint.create"
    UPDATE_ENDPOINT = "endpoint.update"
    DELETE_ENDPOINT = "endpoint.delete"
    TEST_ENDPOINT = "endpoint.test"


class AuditSource(StrEnum):
    """Where a change was asked for."""

    API = "api"
    CONSOLE = "console"
    CLI = "cli"


class AuditOutcome(StrEnum):
    """What became of a change."""

    SUCCEEDED = "succeeded"
    # It was refused: the error says why.
    REFUSED = "refused"
    # It failed, or its process ended, at a point at which it may have been made or not.
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who makes a change: the ID of an API key, or `jwt:<subject>`.

    `bulk_operation` is the ID of the operation that the change is a part of.
    """

    key_id: str
    source: AuditSource = AuditSource.API
    correlation_id: str = ""
    bulk_operation: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditIntent:
    """A change that is about to be made. Times are timestamps; `tenant` is None if it concerns all.

    `parameters`, `before` and `after` are JSON texts, since free JSON cannot be stored as attributes.
    """

    id: str
    started_at: str
    action: str
    target: str
    tenant: str | None
    key_id: str
    key_name: str
    source: str
    correlation_id: str
    parameters: str
    before: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord(AuditIntent):
    """A change and its outcome. `at` is when it was recorded, never before the record that precedes it."""

    sequence: int
    at: str
    after: str
    outcome: str
    error: str
    previous_hash: str
    hash: str = ""


@dataclass(frozen=True, slots=True)
class ChainHead:
    """The number, time and hash of the last record; those of an empty chain by default."""

    sequence: int = 0
    at: str = ""
    hash: str = GENESIS_HASH


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """Selects records; an empty filter selects all. `since` is included, `until` is not."""

    action: str | None = None
    key_id: str | None = None
    tenant: str | None = None
    target: str | None = None
    since: str | None = None
    until: str | None = None

    def matches(self, record: AuditRecord) -> bool:
        return all(
            expected is None or getattr(record, name) == expected
            for name, expected in (
                ("action", self.action),
                ("key_id", self.key_id),
                ("tenant", self.tenant),
                ("target", self.target),
            )
        )


def build_record(intent: AuditIntent, head: ChainHead, *, now: str, **result: str) -> AuditRecord:
    """Return the record that follows the head. `result` is after, outcome and error."""
    values = {name: getattr(intent, name) for name in AuditIntent.__slots__}
    record = AuditRecord(
        **values, **result, sequence=head.sequence + 1, at=max(now, head.at), previous_hash=head.hash
    )
    return AuditRecord(**{**asdict(record), "hash": calculate_hash(asdict(record))})


def build_job_target(tenant: str, job_id: str) -> str:
    """Return the target of what operators do to a job."""
    return f"jobs/{tenant}/{job_id}"


def build_position(record: AuditRecord) -> str:
    """Return the record's place in the order of the chain."""
    return f"{record.at}#{record.sequence:010d}"


def is_position(text: str) -> bool:
    """Return whether the text has the form of a position."""
    at, _, number = text.partition("#")
    return bool(at) and len(number) == len(f"{0:010d}") and number.isdecimal()


def calculate_hash(values: Mapping[str, Any]) -> str:
    """Return the SHA-256 of all fields but the hash itself, as JSON with sorted names and no spaces."""
    content = {name: value for name, value in values.items() if name != "hash"}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def encode_state(state: Any) -> str:
    """Return a state as JSON; one that is too large is replaced by its size and SHA-256."""
    text = json.dumps(state, sort_keys=True, ensure_ascii=False, default=str)
    data = text.encode("utf-8", "surrogatepass")
    if len(data) <= _MAX_STATE_BYTES:
        return text
    return json.dumps({"omitted": {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}})


def classify_failure(error: Exception) -> AuditOutcome:
    """Return whether the change was certainly not made."""
    return AuditOutcome.REFUSED if isinstance(error, _REFUSALS) else AuditOutcome.UNKNOWN


def describe_failure(error: Exception) -> str:
    """Return the text of our own errors, which holds no secrets; only the type of any other."""
    text = str(error) if isinstance(error, ProxyError) else ""
    return f"{type(error).__name__}: {text}"[:_MAX_ERROR_CHARACTERS]


@dataclass(slots=True)
class AuditedChange:
    """A change in progress. Its maker sets what is known only meanwhile; both are plain JSON values."""

    target: str
    before: Any = None
    after: Any = None
