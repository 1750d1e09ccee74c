"""Jobs as clients see them, with the parts that lie in S3 put back in."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from replicate_proxy.contracts.predictions import build_prediction_view

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicate_proxy.jobs.model import Document, Job
    from replicate_proxy.ports import DocumentStore


# A Lambda reply may have 6 MB (AWS Lambda quotas); some are left for headers and escaping.
MAX_REPLY_BYTES = 5_500_000
_READERS = 16


class PredictionRenderer:
    """Renders jobs. A prediction that is too large for one reply loses logs, then input, and says so."""

    def __init__(self, documents: DocumentStore, *, max_reply_bytes: int = MAX_REPLY_BYTES) -> None:
        self._documents = documents
        self._reply_bytes = max_reply_bytes

    def render(self, job: Job, *, wait_expired: bool = False) -> dict[str, Any]:
        view = build_prediction_view(
            job,
            input=self._documents.load(job.input),
            output=self._documents.load(job.output),
            logs=self._documents.load(job.logs),
            files=self._documents.load(job.files),
            wait_expired=wait_expired,
        )
        return self._fitted(view)

    def render_page(self, jobs: Sequence[Job]) -> list[dict[str, Any]]:
        """As many of the jobs, from the first on, as one reply holds; at least one."""
        if any(_is_spilled(job) for job in jobs):
            with ThreadPoolExecutor(_READERS) as readers:
                views = list(readers.map(self.render, jobs))
        else:
            views = [self.render(job) for job in jobs]
        total, shown = 0, 0
        for view in views:
            total += _size(view)
            if shown and total > self._reply_bytes:
                break
            shown += 1
        return views[:shown]

    def _fitted(self, view: dict[str, Any]) -> dict[str, Any]:
        omitted: list[str] = []
        for name, empty in (("logs", ""), ("input", {})):
            if _size(view) <= self._reply_bytes:
                break
            view = {**view, name: empty}
            omitted.append(name)
        if omitted:
            view["proxy"] = {**view["proxy"], "omitted": omitted}
        return view


def _is_spilled(job: Job) -> bool:
    documents: tuple[Document | None, ...] = (job.input, job.output, job.logs, job.files)
    return any(document is not None and document.object_key is not None for document in documents)


def _size(view: dict[str, Any]) -> int:
    return len(json.dumps(view, ensure_ascii=False).encode("utf-8", "surrogatepass"))
