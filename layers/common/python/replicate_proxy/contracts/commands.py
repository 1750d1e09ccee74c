"""The messages of the dispatch queue. No I/O."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from replicate_proxy.errors import PermanentError

if TYPE_CHECKING:
    from replicate_proxy.jobs.model import Job

# The longest delay of an SQS message (Amazon SQS developer guide, message timers).
MAX_MESSAGE_DELAY_SECONDS = 900


class DispatchKind(StrEnum):
    """What the dispatcher does with the job."""

    SUBMIT = "submit"
    CANCEL = "cancel"
    REFRESH = "refresh"
    SCHEMA = "schema"


@dataclass(frozen=True, slots=True)
class DispatchCommand:
    """Submit a job to Replicate, cancel its prediction there, or read its progress or its model's schema.

    It holds only IDs: the dispatcher reads the job's current record, so a command is never outdated. With
    `replicate_id`, it cancels that prediction, unless it is the job's by now. `is_batched` is set for jobs of
    large batches, which have a queue of their own, so that others do not wait for them.
    """

    kind: DispatchKind
    tenant: str
    job_id: str
    correlation_id: str
    replicate_id: str = ""
    is_batched: bool = False

    @classmethod
    def for_job(cls, kind: DispatchKind, job: Job) -> DispatchCommand:
        is_batched = kind is DispatchKind.SUBMIT and job.batch_line is not None
        return cls(kind, job.tenant, job.id, job.correlation_id, is_batched=is_batched)

    @classmethod
    def for_surplus(cls, job: Job, replicate_id: str) -> DispatchCommand:
        """Return the command to cancel a prediction that was created for the job but is not its own."""
        return cls(DispatchKind.CANCEL, job.tenant, job.id, job.correlation_id, replicate_id)

    def to_json(self) -> str:
        fields = asdict(self)
        if not self.is_batched:
            del fields["is_batched"]
        return json.dumps(fields)

    @classmethod
    def from_json(cls, text: str) -> DispatchCommand:
        """Parse a message body. Raises PermanentError if it is not a dispatch command."""
        try:
            fields = json.loads(text)
            return cls(
                kind=DispatchKind(fields["kind"]),
                tenant=str(fields["tenant"]),
                job_id=str(fields["job_id"]),
                correlation_id=str(fields.get("correlation_id", "")),
                replicate_id=str(fields.get("replicate_id", "")),
                is_batched=fields.get("is_batched") is True,
            )
        except (ValueError, TypeError, KeyError) as error:
            raise PermanentError(f"the message is not a dispatch command: {type(error).__name__}") from error
