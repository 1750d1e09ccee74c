"""The state of a large batch, and what is known about each line of its input file. No I/O."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from replicate_proxy.ids import derive_id

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from replicate_proxy.jobs.model import Batch

MAX_LINES = 50_000
MAX_FILE_BYTES = 200_000_000
MAX_LINE_BYTES = 1_000_000
# A transaction has at most 100 items (Amazon DynamoDB API Reference, TransactWriteItems): the jobs of a
# slice, the batch, and four budget windows.
SLICE_LINES = 90


class BatchPhase(StrEnum):
    """What the worker does next with a batch."""

    # Read the input file and create the jobs.
    EXPANDING = "expanding"
    # Wait until all jobs have ended.
    RUNNING = "running"
    # Write the file of results.
    WRITING = "writing"
    # Send the webhook.
    NOTIFYING = "notifying"
    COMPLETED = "completed"


class LineStatus(StrEnum):
    """Why a line has no prediction."""

    REJECTED = "rejected"
    CANCELED = "canceled"


@dataclass(frozen=True, slots=True, kw_only=True)
class LargeBatch:
    """What a batch record has if its predictions come from a file.

    `key_id` and `models` are those of the caller, whose permissions apply to every line. `position` is the
    number of bytes of the file that are expanded, into slices of lines: `lines` in all, of which `created`
    have a job, `rejected` are invalid and `skipped` came after the cancel. `line_objects` has a token for
    each slice, which is part of the name of its object: what an interrupted attempt has stored is not taken
    for it. `sent_slice` is the next slice whose jobs are enqueued, `cancel_slice` the next one whose jobs are
    canceled, `result_slice` the next one whose results are written. `result_parts` are the parts of the
    upload of the results so far. Results that do not fill a part yet, of the slices from `result_slice` up
    to `rest_slice`, are in an object whose name has the token `rest_object`. `due_at` is when the worker
    looks at the batch next. `interruptions` counts the runs in a row that have ended within their first step
    of the batch.
    """

    input_file: str
    object_key: str
    size_bytes: int
    key_id: str
    models: tuple[str, ...]
    correlation_id: str
    due_at: datetime
    delete_at: datetime
    webhook: str | None = None
    image_options: Mapping[str, Any] | None = None
    cancel_after_seconds: int | None = None
    retention_seconds: int | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    phase: BatchPhase = BatchPhase.EXPANDING
    position: int = 0
    line_objects: tuple[str, ...] = ()
    lines: int = 0
    created: int = 0
    rejected: int = 0
    skipped: int = 0
    error: str | None = None
    cancel_requested_at: datetime | None = None
    sent_slice: int = 0
    cancel_slice: int = 0
    result_slice: int = 0
    result_upload: str | None = None
    result_parts: tuple[str, ...] = ()
    rest_slice: int = 0
    rest_object: str | None = None
    completed_at: datetime | None = None
    interruptions: int = 0

    @property
    def is_completed(self) -> bool:
        return self.phase is BatchPhase.COMPLETED

    @property
    def is_expanded(self) -> bool:
        return self.phase is not BatchPhase.EXPANDING

    @property
    def slices(self) -> int:
        """The number of slices that are expanded."""
        return len(self.line_objects)

    @property
    def progress(self) -> tuple[object, ...]:
        """What only the worker changes, and each of its steps does."""
        return (
            self.phase,
            self.position,
            self.sent_slice,
            self.cancel_slice,
            self.result_slice,
            self.result_parts,
            self.rest_object,
        )

    def estimate_lines(self) -> int:
        """Return the number of lines, by the part of the file that is expanded if it is not all."""
        if self.is_expanded or not self.position:
            return self.lines
        return min(max(self.lines, round(self.lines * self.size_bytes / self.position)), MAX_LINES)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchCounts:
    """How many jobs of a batch have ended, by status, and what they cost as far as that is known."""

    succeeded: int = 0
    failed: int = 0
    canceled: int = 0
    cost_micro_usd: int = 0
    unknown_costs: int = 0

    @property
    def ended(self) -> int:
        return self.succeeded + self.failed + self.canceled


NOTHING_ENDED = BatchCounts()


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLine:
    """A line of the input file, from 1 on. Without `status` it has a job."""

    number: int
    custom_id: str | None = None
    status: LineStatus | None = None
    error: str | None = None
    invalid_fields: tuple[Mapping[str, str], ...] = field(default=())

    def derive_job_id(self, batch_id: str) -> str:
        return derive_id(batch_id, self.number)


def name_lines_object(tenant: str, batch_id: str, number: int, token: str) -> str:
    return f"{name_prefix(tenant, batch_id)}lines/{number:06}-{token}.json"


def find_lines_object(batch: Batch, number: int) -> str:
    """Return the name of the object with the lines of a slice that is expanded."""
    tokens = batch.large.line_objects if batch.large is not None else ()
    return name_lines_object(batch.tenant, batch.id, number, tokens[number])


def name_results_object(tenant: str, batch_id: str) -> str:
    return f"{name_prefix(tenant, batch_id)}results.jsonl"


def name_rest_object(tenant: str, batch_id: str, token: str) -> str:
    return f"{name_prefix(tenant, batch_id)}rest/{token}.jsonl"


def name_prefix(tenant: str, batch_id: str) -> str:
    """Return the prefix of the lines and results of a batch."""
    return f"batches/{tenant}/{batch_id}/"


def list_prefixes(tenant: str, batch_id: str) -> list[str]:
    """Return the prefixes of all objects of a batch; a large event is stored as those of jobs are."""
    return [name_prefix(tenant, batch_id), f"records/{tenant}/{batch_id}/"]


def dump_lines(lines: Sequence[BatchLine]) -> bytes:
    """Return a slice of lines as it is stored."""
    return json.dumps(
        [
            [line.number, line.custom_id, line.status, line.error, list(line.invalid_fields)]
            if line.status
            else [line.number, line.custom_id]
            for line in lines
        ],
        ensure_ascii=False,
    ).encode("utf-8", "surrogatepass")


def parse_lines(body: bytes) -> list[BatchLine]:
    """Return the lines of a stored slice."""
    return [_parse_line(*values) for values in json.loads(body)]


def _parse_line(
    number: int,
    custom_id: str | None,
    status: str | None = None,
    error: str | None = None,
    invalid_fields: Sequence[Mapping[str, str]] = (),
) -> BatchLine:
    return BatchLine(
        number=number,
        custom_id=custom_id,
        status=LineStatus(status) if status else None,
        error=error,
        invalid_fields=tuple(invalid_fields),
    )
