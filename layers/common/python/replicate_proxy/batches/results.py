"""The results of a large batch: a view of each line, in pages while it runs, and as a file at its end."""

from __future__ import annotations

import json
from datetime import timedelta
from functools import partial
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from replicate_proxy.batches.model import (
    find_lines_object,
    name_rest_object,
    name_results_object,
    parse_lines,
)
from replicate_proxy.contracts.large_batches import build_line_view
from replicate_proxy.errors import NotFoundError
from replicate_proxy.outputs.private_urls import find_private_urls
from replicate_proxy.parallel import map_in_parallel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicate_proxy.batches.model import BatchLine, LargeBatch
    from replicate_proxy.batches.ports import BatchObjects
    from replicate_proxy.jobs.model import Batch, Job
    from replicate_proxy.outputs.private_urls import SignUrls
    from replicate_proxy.ports import Clock, DocumentStore, JobsById

# S3 takes parts of at least 5 MiB, except for the last one (Amazon S3, multipart upload limits).
PART_BYTES = 6 * 1024 * 1024
# A larger output is left out, so that neither a page nor the memory of the writer is unbounded.
MAX_OUTPUT_CHARACTERS = 250_000
# Outputs that are loaded to be left out fill no part for minutes. A worker that begins a step has 20 seconds
# left at least: one more slice and the upload come on top of these.
_MAX_READING = timedelta(seconds=10)
_TOKEN_BYTES = 4
# NEL, LS and PS are valid in JSON, but end a line for `str.splitlines`, and so for httpx and requests.
_LINE_ENDS = (("\x85", r"\u0085"), ("\u2028", r"\u2028"), ("\u2029", r"\u2029"))


class ResultReader:
    """Reads the results of slices of lines.

    Without `sign_urls`, outputs with private files are left out: for what is kept, since URLs expire.
    """

    def __init__(
        self,
        objects: BatchObjects,
        jobs: JobsById,
        documents: DocumentStore,
        sign_urls: SignUrls | None = None,
    ) -> None:
        self._objects = objects
        self._jobs = jobs
        self._documents = documents
        self._sign_urls = sign_urls

    def read_slice(self, batch: Batch, number: int) -> list[dict[str, Any]]:
        """Return the views of the lines of a slice, in their order."""
        lines = parse_lines(self._objects.read(find_lines_object(batch, number)))
        job_ids = [line.derive_job_id(batch.id) for line in lines if line.status is None]
        jobs = self._jobs.get_many(batch.tenant, job_ids, consistent=True)
        return map_in_parallel(partial(self._build_view, batch, jobs), lines)

    def _build_view(self, batch: Batch, jobs: Mapping[str, Job], line: BatchLine) -> dict[str, Any]:
        job = jobs.get(line.derive_job_id(batch.id)) if line.status is None else None
        view = build_line_view(batch, line, job)
        if job is not None and job.output is not None:
            try:
                output = self._documents.load(job.output)
            except NotFoundError:
                # The job was deleted in between.
                return build_line_view(batch, line, None)
            if self._sign_urls is not None:
                output = self._sign_urls(output, job.private_folder)
            elif find_private_urls(output, job.private_folder):
                return omit_output(view)
            if len(json.dumps(output, ensure_ascii=False)) > MAX_OUTPUT_CHARACTERS:
                return omit_output(view)
            view["output"] = output
        return view


class ResultWriter:
    """Writes the file of results by parts. One that is not saved is written again, with the same number.

    Results that do not fill a part in the time of a step are stored, and the next step goes on with them.
    """

    def __init__(
        self, reader: ResultReader, objects: BatchObjects, clock: Clock, *, part_bytes: int = PART_BYTES
    ) -> None:
        self._reader = reader
        self._objects = objects
        self._clock = clock
        self._part_bytes = part_bytes

    def write_part(self, batch: Batch, large: LargeBatch) -> dict[str, Any]:
        """Start the upload, write a part of it or complete it, and return what changes in the state.

        An empty result says that the file is complete. Raises NotFoundError if the lines of a slice are gone.
        """
        key = name_results_object(batch.tenant, batch.id)
        if large.result_upload is None:
            return {"result_upload": self._objects.start_upload(key)}
        if large.result_slice >= large.slices and large.result_parts:
            try:
                self._objects.complete_upload(key, large.result_upload, large.result_parts)
            except NotFoundError:
                return self._restart(key)
            return {}
        number, body = self._read_part(batch, large)
        if number < large.slices and len(body) < self._part_bytes:
            token = token_hex(_TOKEN_BYTES)
            self._objects.put(name_rest_object(batch.tenant, batch.id, token), body)
            return {"rest_slice": number, "rest_object": token}
        try:
            tag = self._objects.upload_part(key, large.result_upload, len(large.result_parts) + 1, body)
        except NotFoundError:
            return self._restart(key)
        return {"result_slice": number, "result_parts": (*large.result_parts, tag), "rest_object": None}

    def _restart(self, key: str) -> dict[str, Any]:
        """Return what changes in the state because the upload has ended, or cannot be completed."""
        if self._objects.exists(key):
            return {}
        # It was removed unfinished, which takes a day, or has another part by now: begin again.
        return {"result_upload": None, "result_parts": (), "result_slice": 0, "rest_object": None}

    def _read_part(self, batch: Batch, large: LargeBatch) -> tuple[int, bytes]:
        """Return the number of the slice after the part, and the part, or what there is time for."""
        end = self._clock.now() + _MAX_READING
        body, number = bytearray(), large.result_slice
        if large.rest_object is not None:
            body += self._objects.read(name_rest_object(batch.tenant, batch.id, large.rest_object))
            number = large.rest_slice
        while number < large.slices and len(body) < self._part_bytes:
            for view in self._reader.read_slice(batch, number):
                body += dump_view(view)
            number += 1
            if self._clock.now() >= end:
                break
        return number, bytes(body)


def omit_output(view: Mapping[str, Any]) -> dict[str, Any]:
    """Return the view without its output, which the prediction itself still has."""
    return {**view, "output": None, "omitted": ["output"]}


def dump_view(view: Mapping[str, Any]) -> bytes:
    """Return the view as a line of JSONL, without what other readers than ours take for its end.

    It is ASCII-escaped if it holds a lone surrogate, which has no UTF-8.
    """
    text = json.dumps(view, ensure_ascii=False)
    for character, escape in _LINE_ENDS:
        text = text.replace(character, escape)
    try:
        return text.encode() + b"\n"
    except UnicodeEncodeError:
        return json.dumps(view).encode() + b"\n"
