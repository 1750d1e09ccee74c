"""What lists of jobs are filtered by."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from replicate_proxy.ids import min_id_at

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from replicate_proxy.jobs.model import EndReason, Job, JobStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Selects jobs; an empty filter selects all. `created_after` is included, `created_before` is not.

    `model` is the one that ran, or that the caller named; `key_id` is the API key that created a job, or
    `jwt:` and the subject of a token; `end_reason` is why it ended. A job matches `metadata` if it has all of
    its pairs.
    """

    statuses: frozenset[JobStatus] = frozenset()
    tenant: str | None = None
    model: str | None = None
    key_id: str | None = None
    batch_id: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    end_reason: EndReason | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None

    @property
    def min_id(self) -> str | None:
        return min_id_at(self.created_after) if self.created_after else None

    @property
    def before_id(self) -> str | None:
        return min_id_at(self.created_before) if self.created_before else None

    @property
    def reads_content(self) -> bool:
        """Return whether jobs themselves have to be read to tell if they match, since no index says so."""
        return bool(self.model or self.key_id or self.batch_id or self.metadata)

    def matches(self, job: Job) -> bool:
        min_id, before_id = self.min_id, self.before_id
        return (
            (not self.statuses or job.status in self.statuses)
            and (self.tenant is None or job.tenant == self.tenant)
            and (self.model is None or self.model in _list_models(job))
            and (self.key_id is None or job.key_id == self.key_id)
            and (self.batch_id is None or job.batch_id == self.batch_id)
            and self.metadata.items() <= job.metadata.items()
            and (self.end_reason is None or job.end_reason is self.end_reason)
            and (min_id is None or job.id >= min_id)
            and (before_id is None or job.id < before_id)
        )


def _list_models(job: Job) -> tuple[str | None, ...]:
    return job.model, job.requested_model, job.submission.model_name, job.submission.target
