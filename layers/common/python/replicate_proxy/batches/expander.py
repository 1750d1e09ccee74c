"""Create the jobs of a slice of lines of an input file.

The jobs of a slice are written in one transaction with the progress of the batch: so an attempt that ends
anywhere has created all of them or none, and of two workers at the same slice only one creates any. What
applies to a create request applies to each line, by the same code: the parser, the validation of inputs,
budgets and the factory of jobs.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from functools import partial
from secrets import token_hex
from typing import TYPE_CHECKING, Any, Protocol

from replicate_proxy.auth.principal import Principal
from replicate_proxy.batches.input_file import InputFile
from replicate_proxy.batches.model import (
    MAX_LINE_BYTES,
    MAX_LINES,
    SLICE_LINES,
    BatchLine,
    LineStatus,
    dump_lines,
    name_lines_object,
)
from replicate_proxy.contracts.commands import DispatchCommand, DispatchKind
from replicate_proxy.errors import ApiError, NotFoundError, RetryableError
from replicate_proxy.jobs.model import JobStatus
from replicate_proxy.services.ingest import log_job_accepted
from replicate_proxy.services.input_check import accept_all
from replicate_proxy.strict_json import parse_strict_json
from replicate_proxy.testing.checkpoints import Checkpoint, no_checkpoint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicate_proxy.batches.input_file import RawLine
    from replicate_proxy.batches.model import LargeBatch
    from replicate_proxy.batches.ports import BatchObjects, LargeBatchStore
    from replicate_proxy.budgets.gate import BudgetGate
    from replicate_proxy.budgets.model import Hold
    from replicate_proxy.jobs.model import Batch, Job
    from replicate_proxy.jobs.timeouts import JobTimeouts
    from replicate_proxy.ports import Clock, CommandQueue
    from replicate_proxy.services.ingest import JobFactory, JobRequest
    from replicate_proxy.services.input_check import CheckInput

_SERVER_ERROR = 500
# A queued job of a batch is one of thousands: its message is not lost because it is not handled in minutes.
_CHECK_FACTOR = 30
_MAX_ERROR_CHARACTERS = 1000
_MAX_CUSTOM_ID_CHARACTERS = 128
_MAX_INVALID_FIELDS = 5
_TOKEN_BYTES = 4

_TOO_MANY_LINES = f"The input file has more than {MAX_LINES} lines; those after them are ignored"
_FILE_GONE = (
    "The input file was deleted or replaced before all of its lines were read; the others are missing"
)


class LineParser(Protocol):
    """Validates a line as a create request: `api.predictions.job_request_parser`."""

    def parse_line(
        self, body: Any, principal: Principal, *, public_base_url: str, correlation_id: str
    ) -> tuple[str, JobRequest]:
        """Return the custom ID and the request. Raises an ApiError that names what is wrong."""
        ...


@dataclass(frozen=True, slots=True)
class _ParsedLine:
    """A line with its request, None if it gets no job."""

    line: BatchLine
    request: JobRequest | None = None


class BatchExpander:
    """Expands batches, one slice at a time."""

    def __init__(  # noqa: PLR0913 - what creates jobs, and where the lines are
        self,
        *,
        store: LargeBatchStore,
        objects: BatchObjects,
        parser: LineParser,
        factory: JobFactory,
        queue: CommandQueue,
        timeouts: JobTimeouts,
        clock: Clock,
        budgets: BudgetGate,
        check_input: CheckInput = accept_all,
        checkpoint: Checkpoint = no_checkpoint,
    ) -> None:
        self._store = store
        self._objects = objects
        self._parser = parser
        self._factory = factory
        self._queue = queue
        self._check_delay = timedelta(seconds=timeouts.queued_seconds * _CHECK_FACTOR)
        self._clock = clock
        self._budgets = budgets
        self._check_input = check_input
        self._checkpoint = checkpoint

    def expand_slice(self, batch: Batch, large: LargeBatch) -> tuple[Batch, list[Job]]:
        """Write the jobs of the next lines, and return the batch with its progress, and the jobs to enqueue.

        Raises ConflictError if the batch has changed, and RetryableError if the slice could not be finished.
        """
        file = InputFile(partial(self._objects.read_range, large.object_key), large.size_bytes)
        try:
            raw_lines = file.read_lines(large.position, SLICE_LINES)
        except NotFoundError:
            expanded = replace(large, position=large.size_bytes, error=_FILE_GONE)
            return self._store.replace(replace(batch, large=expanded)), []
        excess = large.lines + len(raw_lines) > MAX_LINES
        raw_lines = raw_lines[: MAX_LINES - large.lines]
        expanded = replace(large, position=raw_lines[-1].end if raw_lines else large.position)
        if excess:
            expanded = replace(large, position=large.size_bytes, error=_TOO_MANY_LINES)
        if not raw_lines:
            return self._store.replace(replace(batch, large=expanded)), []
        principal = Principal(batch.tenant, large.key_id, models=large.models, has_budget=True)
        parsed = [
            self._parse(batch, large, principal, number, raw)
            for number, raw in enumerate(raw_lines, start=large.lines + 1)
        ]
        return self._create_jobs(replace(batch, large=expanded), expanded, principal, parsed)

    def enqueue(self, jobs: Sequence[Job]) -> None:
        """Send those jobs that are queued. One that is sent twice is submitted once."""
        commands = [
            DispatchCommand.for_job(DispatchKind.SUBMIT, job)
            for job in jobs
            if job.status is JobStatus.QUEUED
        ]
        if commands:
            self._queue.send_all(commands)
        self._checkpoint("batch.jobs_enqueued")

    def _parse(
        self, batch: Batch, large: LargeBatch, principal: Principal, number: int, raw: RawLine
    ) -> _ParsedLine:
        line = BatchLine(number=number)
        if raw.text is None:
            return _reject(line, f"The line is longer than {MAX_LINE_BYTES} bytes")
        if not raw.text.strip():
            return _reject(line, "The line is empty")
        try:
            body = parse_strict_json(raw.text)
        except (ValueError, RecursionError):
            return _reject(line, "The line is not valid JSON")
        line = replace(line, custom_id=_find_custom_id(body))
        if large.cancel_requested_at is not None:
            return _ParsedLine(replace(line, status=LineStatus.CANCELED, error="The batch was canceled"))
        try:
            custom_id, request = self._parser.parse_line(
                body,
                principal,
                public_base_url=batch.public_base_url,
                correlation_id=large.correlation_id,
            )
            request = replace(request, warnings=self._check_input(request))
        except ApiError as error:
            return _reject_by(line, error)
        request = replace(
            request,
            image_options=large.image_options,
            cancel_after_seconds=large.cancel_after_seconds,
            retention_seconds=large.retention_seconds,
            metadata=large.metadata,
        )
        return _ParsedLine(replace(line, custom_id=custom_id), request)

    def _create_jobs(
        self, batch: Batch, large: LargeBatch, principal: Principal, parsed: Sequence[_ParsedLine]
    ) -> tuple[Batch, list[Job]]:
        """Store what is known about the lines, then write the jobs with the progress."""
        hold, parsed = self._check_budgets(principal, parsed)
        lines, token = [each.line for each in parsed], token_hex(_TOKEN_BYTES)
        self._objects.put(name_lines_object(batch.tenant, batch.id, large.slices, token), dump_lines(lines))
        self._checkpoint("batch.lines_stored")
        expanded = replace(
            large,
            line_objects=(*large.line_objects, token),
            lines=large.lines + len(lines),
            created=large.created + sum(line.status is None for line in lines),
            rejected=large.rejected + sum(line.status is LineStatus.REJECTED for line in lines),
            skipped=large.skipped + sum(line.status is LineStatus.CANCELED for line in lines),
        )
        jobs = [
            self._build_job(batch, principal, each.line, each.request)
            for each in parsed
            if each.request is not None
        ]
        saved = self._write(replace(batch, large=expanded), jobs, hold)
        self._checkpoint("batch.jobs_stored")
        for job in jobs:
            log_job_accepted(job)
        return saved, jobs

    def _check_budgets(
        self, principal: Principal, parsed: Sequence[_ParsedLine]
    ) -> tuple[Hold | None, Sequence[_ParsedLine]]:
        """Return what the lines will reserve, and the lines, of which those that do not fit are rejected."""
        indexes = [index for index, each in enumerate(parsed) if each.request is not None]
        requests = [each.request for each in parsed if each.request is not None]
        if not requests:
            return None, parsed
        hold, refusals = self._budgets.check_each(requests, principal)
        checked = list(parsed)
        for position, error in refusals.items():
            index = indexes[position]
            checked[index] = _reject_by(parsed[index].line, error)
        return hold, checked

    def _write(self, batch: Batch, jobs: Sequence[Job], hold: Hold | None) -> Batch:
        if hold is None:
            return self._store.replace_with_jobs(batch, jobs)
        saved = replace(batch, revision=batch.revision + 1)
        try:
            self._budgets.create(jobs, hold, batch=saved)
        except ApiError as error:
            raise RetryableError("others have used the budget meanwhile") from error
        return saved

    def _build_job(self, batch: Batch, principal: Principal, line: BatchLine, request: JobRequest) -> Job:
        job_id = line.derive_job_id(batch.id)
        job = self._factory.build_job(request, principal, job_id, batch.created_at, batch_id=batch.id)
        return replace(
            job,
            batch_line=line.number,
            custom_id=line.custom_id,
            next_check_at=self._clock.now() + self._check_delay,
        )


def _find_custom_id(body: Any) -> str | None:
    """Return the custom ID of a line that may be wrong in other respects."""
    custom_id = body.get("custom_id") if isinstance(body, dict) else None
    return custom_id[:_MAX_CUSTOM_ID_CHARACTERS] if isinstance(custom_id, str) else None


def _reject(line: BatchLine, error: str) -> _ParsedLine:
    return _ParsedLine(replace(line, status=LineStatus.REJECTED, error=error))


def _reject_by(line: BatchLine, error: ApiError) -> _ParsedLine:
    """Return the line with the error of a create request. Raises RetryableError for a temporary one."""
    if error.status >= _SERVER_ERROR:
        raise RetryableError(error.detail)
    rejected = _reject(line, error.detail[:_MAX_ERROR_CHARACTERS])
    fields = tuple(asdict(invalid) for invalid in error.invalid_fields[:_MAX_INVALID_FIELDS])
    return replace(rejected, line=replace(rejected.line, invalid_fields=fields))
