"""Render jobs as predictions, with their documents from S3, within the size of a Lambda response."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from itertools import batched
from typing import TYPE_CHECKING, Any

from replicate_proxy.contracts.predictions import build_prediction_view
from replicate_proxy.errors import NotFoundError
from replicate_proxy.outputs.private_urls import refuse_private
from replicate_proxy.response_size import MAX_RESPONSE_BYTES, calculate_sent_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from replicate_proxy.jobs.model import Document, Job
    from replicate_proxy.outputs.private_urls import SignUrls
    from replicate_proxy.ports import DocumentStore


_MAX_PARALLEL_READS = 8
# A response has more than whole predictions: links, a budget, or the IDs and URLs of the rest of a batch.
MAX_PAGE_BYTES = MAX_RESPONSE_BYTES - 100_000


class PredictionRenderer:
    """Renders jobs as predictions.

    A prediction that is too large for one response is shown without logs, then also without input, then
    without output, then without the records of its files; `proxy.omitted` lists what is missing. URLs of
    private files are signed for each response, which raises UrlSigningError if that is not possible.
    """

    def __init__(
        self,
        documents: DocumentStore,
        *,
        sign_urls: SignUrls = refuse_private,
        max_page_bytes: int = MAX_PAGE_BYTES,
    ) -> None:
        self._documents = documents
        self._sign_urls = sign_urls
        self._max_page_bytes = max_page_bytes

    def render(self, job: Job, *, wait_expired: bool = False) -> dict[str, Any]:
        """Return the prediction. `wait_expired`: a `Prefer: wait` ended before the job was final."""
        view = build_prediction_view(
            job,
            input=self._documents.load(job.input),
            output=self._sign_urls(self._documents.load(job.output), job.private_folder),
            partial_output=self._documents.load(job.partial_output),
            logs=self._documents.load(job.logs),
            files=self.load_files(job),
            wait_expired=wait_expired,
        )
        return self._omit_large_fields(view)

    def render_without_documents(self, job: Job) -> dict[str, Any]:
        """Return the prediction where its documents cannot be read; `proxy.omitted` lists what it has."""
        view = build_prediction_view(job, input={})
        omitted = [name for name in ("input", "output", "logs") if getattr(job, name) is not None]
        return {**view, "proxy": {**view["proxy"], "omitted": omitted}}

    def load_files(self, job: Job) -> list[dict[str, Any]]:
        """Return the records of the job's files. Raises NotFoundError and RetryableError."""
        return self._sign_urls(self._documents.load(job.files), job.private_folder) or []

    def render_page(self, jobs: Sequence[Job]) -> list[dict[str, Any]]:
        """Return the predictions of the first jobs: as many as fit into one response, at least one."""
        page: list[dict[str, Any]] = []
        total_bytes = 0
        for view in self._iterate_views(jobs):
            total_bytes += _calculate_size_bytes(view)
            if page and total_bytes > self._max_page_bytes:
                break
            page.append(view)
        return page

    def _iterate_views(self, jobs: Sequence[Job]) -> Iterator[dict[str, Any]]:
        """Render few jobs at a time: all of a page can have hundreds of megabytes of documents."""
        if not any(_has_offloaded_documents(job) for job in jobs):
            yield from map(self._render_in_page, jobs)
            return
        with ThreadPoolExecutor(_MAX_PARALLEL_READS) as executor:
            for some_jobs in batched(jobs, _MAX_PARALLEL_READS, strict=False):
                yield from executor.map(self._render_in_page, some_jobs)

    def _render_in_page(self, job: Job) -> dict[str, Any]:
        """Render a job that may be deleted meanwhile: its documents are removed before its record."""
        try:
            return self.render(job)
        except NotFoundError:
            return self.render_without_documents(job)

    def _omit_large_fields(self, view: dict[str, Any]) -> dict[str, Any]:
        omitted: list[str] = []
        for name, empty in (("logs", ""), ("input", {}), ("output", None)):
            if _calculate_size_bytes(view) <= self._max_page_bytes:
                break
            view = {**view, name: empty}
            omitted.append(name)
        if _calculate_size_bytes(view) > self._max_page_bytes:
            # Ten thousand URLs of files that are not stored.
            view["proxy"] = {**view["proxy"], "files": []}
            omitted.append("files")
        if omitted:
            view["proxy"] = {**view["proxy"], "omitted": omitted}
        return view


def _has_offloaded_documents(job: Job) -> bool:
    documents: tuple[Document | None, ...] = (job.input, job.output, job.logs, job.files)
    return any(document is not None and document.object_key is not None for document in documents)


def _calculate_size_bytes(view: dict[str, Any]) -> int:
    return calculate_sent_bytes(json.dumps(view, ensure_ascii=False))
