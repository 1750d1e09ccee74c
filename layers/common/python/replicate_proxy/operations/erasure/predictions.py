"""End and delete the predictions of a tenant, by the use cases of single ones."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicate_proxy.errors import NotFoundError
from replicate_proxy.operations.erasure.model import ErasurePage
from replicate_proxy.parallel import map_in_parallel

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from replicate_proxy.deletion.deleter import JobDeleter
    from replicate_proxy.jobs.model import Batch, Job
    from replicate_proxy.operations.erasure.service import JobLister
    from replicate_proxy.ports import BatchStore

_PAGE_SIZE = 100
_KIND = "predictions"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTenantPredictions:
    """The TenantPredictions port.

    `cancel` requests the cancel of a job and returns the job, `cancel_batch` that of a large batch.
    """

    jobs: JobLister
    batches: BatchStore
    cancel: Callable[[Job], Job]
    cancel_batch: Callable[[str, str], object]
    deleter: JobDeleter

    def cancel_batches(self, tenant: str) -> None:
        before_id = None
        while found := self.batches.list_batches(tenant, before_id=before_id, limit=_PAGE_SIZE):
            for batch in filter(_is_expanding, found):
                with suppress(NotFoundError):
                    self.cancel_batch(tenant, batch.id)
            before_id = found[-1].id

    def list_page(self, tenant: str, cursor: str | None) -> tuple[ErasurePage, int]:
        page = self.jobs.list_jobs(tenant, before_id=cursor, min_id=None, limit=_PAGE_SIZE)
        jobs = map_in_parallel(self._end, page.jobs)
        ended = tuple(job.id for job in jobs if job.is_terminal)
        return ErasurePage(ended, (_KIND,) * len(ended), page.next_before_id), len(jobs) - len(ended)

    def delete(self, tenant: str, job_ids: Sequence[str]) -> None:
        map_in_parallel(lambda job_id: self._delete(tenant, job_id), job_ids)

    def _end(self, job: Job) -> Job:
        """Request the cancel once: the sweep repeats it, and another end is as good."""
        return job if job.is_terminal or job.cancel_requested_at is not None else self.cancel(job)

    def _delete(self, tenant: str, job_id: str) -> None:
        with suppress(NotFoundError):
            self.deleter.replace_record(tenant, job_id, leaves_content=True)


def _is_expanding(batch: Batch) -> bool:
    large = batch.large
    return large is not None and large.completed_at is None and large.cancel_requested_at is None
