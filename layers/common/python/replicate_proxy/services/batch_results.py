"""The results of a large batch for its caller: pages of lines while it runs, and a signed URL at its end."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from replicate_proxy.batches.model import name_results_object
from replicate_proxy.batches.results import dump_view, omit_output
from replicate_proxy.errors import ApiError
from replicate_proxy.response_size import MAX_RESPONSE_BYTES, calculate_sent_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Protocol

    from replicate_proxy.batches.results import ResultReader
    from replicate_proxy.jobs.model import Batch

    class ResultUrls(Protocol):
        """Signs URLs of objects."""

        def create_download_url(self, key: str, *, name: str, lifetime: timedelta) -> str: ...


_URL_LIFETIME = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class ResultPage:
    """A page of JSONL. Lines after it are in `next_slice`, or will be; None if there are no more."""

    text: str
    next_slice: int | None


class BatchResults:
    """Reads results of one batch at a time."""

    def __init__(self, reader: ResultReader, urls: ResultUrls) -> None:
        self._reader = reader
        self._urls = urls

    def create_file_url(self, batch: Batch) -> str | None:
        """Return a URL of the file of results, None as long as there is none. Raises a 404 ApiError."""
        if batch.large is None:
            detail = "Only batches with an input file have results; this one has its predictions"
            raise ApiError(404, "No results", detail)
        if not batch.large.completed_at:
            return None
        key = name_results_object(batch.tenant, batch.id)
        name = f"{batch.id}-results.jsonl"
        return self._urls.create_download_url(key, name=name, lifetime=_URL_LIFETIME)

    def read_views(self, batch: Batch, number: int) -> list[dict[str, Any]]:
        """Return the lines of a slice that exists."""
        return self._reader.read_slice(batch, number)

    def read_page(self, batch: Batch, number: int) -> ResultPage:
        """Return the lines of a slice. If it does not exist yet, the page is empty and the next one itself.

        Outputs are left out as far as the page would be too large for a response.
        """
        large = batch.large
        if large is None or number >= large.slices:
            is_to_come = large is not None and not large.is_expanded
            return ResultPage("", number if is_to_come else None)
        has_more = number + 1 < large.slices or not large.is_expanded
        return ResultPage(_render_page(self.read_views(batch, number)), number + 1 if has_more else None)


def _render_page(views: Sequence[Mapping[str, Any]]) -> str:
    """Return the lines. An output is left out if the lines after it, without theirs, would not fit any more.

    Without any output a page always fits: it has `SLICE_LINES` lines, with errors of limited length.
    """
    shortest = [_render(omit_output(view) if view.get("output") is not None else view) for view in views]
    total_bytes = sum(map(calculate_sent_bytes, shortest))
    lines: list[str] = []
    for view, short in zip(views, shortest, strict=True):
        line = _render(view)
        added_bytes = calculate_sent_bytes(line) - calculate_sent_bytes(short)
        if total_bytes + added_bytes > MAX_RESPONSE_BYTES:
            line, added_bytes = short, 0
        lines.append(line)
        total_bytes += added_bytes
    return "".join(lines)


def _render(view: Mapping[str, Any]) -> str:
    return dump_view(view).decode()
