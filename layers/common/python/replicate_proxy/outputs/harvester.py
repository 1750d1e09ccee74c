"""Harvest all files of one output in parallel, as many as one invocation can handle."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from replicate_proxy.net.deadline import Deadline
from replicate_proxy.outputs.fetch import FetchDeferredError
from replicate_proxy.outputs.records import FileOutcome, FileRecord, HarvestResult
from replicate_proxy.outputs.references import FileReference, find_references, replace_references
from replicate_proxy.outputs.storage import ObjectLocation
from replicate_proxy.response_size import calculate_sent_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from datetime import datetime

    from replicate_proxy.images.options import ImageOptions
    from replicate_proxy.json_tree import JsonPath
    from replicate_proxy.outputs.file_harvester import FileHarvester
    from replicate_proxy.outputs.settings import HarvestSettings
    from replicate_proxy.ports import Clock


# As Lambda sends it. What else a prediction has takes up to 2 MB: the records of a thousand files.
MAX_INLINE_OUTPUT_BYTES = 4_000_000


class ParallelOutputHarvester:
    """Harvests the files of an output in several threads.

    `on_file_harvested` is called with each new record, from these threads; it must not raise.
    """

    def __init__(
        self,
        *,
        file_harvester: FileHarvester,
        settings: HarvestSettings,
        clock: Clock,
        on_file_harvested: Callable[[FileRecord], None] = lambda _: None,
    ) -> None:
        self._file_harvester = file_harvester
        self._settings = settings
        self._clock = clock
        self._on_file_harvested = on_file_harvested

    def harvest(
        self,
        *,
        tenant: str,
        job_id: str,
        output: Any,
        options: ImageOptions,
        deadline: datetime,
        earlier_records: tuple[FileRecord, ...] = (),
        is_private: bool = False,
    ) -> HarvestResult:
        """Store the files that the output refers to, and return it with their new URLs in the same places.

        `deadline` is the end of the invocation; files that do not fit into it remain for a later one. Files
        in `earlier_records` are not harvested again, except retryable ones, after all that have no record:
        slow files must not keep others from their first try. No file makes this raise: one that cannot be
        stored keeps its source URL, and its record says why. A final output of megabytes becomes a file
        itself; RetryableError is raised if that cannot be stored. `is_private`: no file may be public.
        """
        final = {record.path: record for record in earlier_records if not record.retryable}
        retryable = {record.path: record for record in earlier_records if record.retryable}
        references = find_references(output)
        location = ObjectLocation(tenant, job_id, (), is_private)
        batch = HarvestBatch(
            file_harvester=self._file_harvester,
            settings=self._settings,
            on_file_harvested=self._on_file_harvested,
            clock=self._clock,
            deadline=deadline,
            location=location,
            options=options,
        )
        open_references = [reference for reference in references if reference.path not in final]
        harvested = self._harvest_open(open_references, batch, tried=retryable.keys())
        records = {**retryable, **final, **harvested}
        ordered = _limit_text(
            (records[reference.path] for reference in references if reference.path in records),
            self._settings.max_text_bytes_per_job,
        )
        urls = {record.path: record.url for record in ordered if record.is_stored}
        remaining = tuple(reference.path for reference in open_references if reference.path not in harvested)
        result = HarvestResult(output=replace_references(output, urls), records=ordered, remaining=remaining)
        return self._store_large_output(result, location) if result.is_complete else result

    def _store_large_output(self, result: HarvestResult, location: ObjectLocation) -> HarvestResult:
        """Return the result with the URL of a file in place of an output that is too large for a response."""
        if calculate_sent_bytes(json.dumps(result.output, ensure_ascii=False)) <= MAX_INLINE_OUTPUT_BYTES:
            return result
        record = self._file_harvester.store_output(result.output, location)
        self._on_file_harvested(record)
        return replace(result, output=record.url, records=(*result.records, record))

    def _harvest_open(
        self, references: list[FileReference], batch: HarvestBatch, *, tried: Collection[JsonPath]
    ) -> dict[JsonPath, FileRecord]:
        """Return records by path, without those of deferred files. Repeated URLs are harvested once."""
        paths_by_url: dict[str, list[JsonPath]] = {}
        for reference in references:
            paths_by_url.setdefault(reference.url, []).append(reference.path)
        distinct = [FileReference(paths[0], url) for url, paths in paths_by_url.items()]
        if not distinct:
            return {}
        accepted, excess = distinct[: self._settings.max_files], distinct[self._settings.max_files :]
        accepted.sort(key=lambda reference: reference.path in tried)
        records = self._process_in_parallel(accepted, batch)
        records += [
            FileRecord(reference.path, FileOutcome.NOT_STORED, reference.recorded_url, "too_many_files")
            for reference in excess
        ]
        by_first_path = {record.path: record for record in records}
        return {
            path: replace(by_first_path[paths[0]], path=path)
            for paths in paths_by_url.values()
            if paths[0] in by_first_path
            for path in paths
        }

    def _process_in_parallel(self, references: list[FileReference], batch: HarvestBatch) -> list[FileRecord]:
        """Return the records of the files that are done before it is time to save them."""
        threads = ThreadPoolExecutor(
            min(self._settings.max_parallel_files, len(references)), thread_name_prefix="harvest"
        )
        try:
            futures = [threads.submit(batch.process, reference) for reference in references]
            done, _ = wait(futures, timeout=batch.seconds_until_saving)
            for future in done:
                future.result()
            return batch.close()
        finally:
            # A thread that still waits for S3 ends by itself.
            threads.shutdown(wait=False, cancel_futures=True)


class HarvestBatch:
    """The files that one invocation harvests for one job; shared by the threads that process them.

    `location` is that of the whole output.
    """

    def __init__(
        self,
        *,
        file_harvester: FileHarvester,
        settings: HarvestSettings,
        on_file_harvested: Callable[[FileRecord], None],
        clock: Clock,
        deadline: datetime,
        location: ObjectLocation,
        options: ImageOptions,
    ) -> None:
        self._file_harvester = file_harvester
        self._settings = settings
        self._on_file_harvested = on_file_harvested
        self._clock = clock
        self._deadline = deadline
        self._location = location
        self._options = options
        self._image_deadline = Deadline(
            self._calculate_seconds_until(settings.storing_seconds),
            monotonic=lambda: clock.now().timestamp(),
        )
        self._fetched_bytes = 0
        self._records: list[FileRecord] = []
        self._is_closed = False
        self._lock = threading.Lock()

    @property
    def seconds_until_saving(self) -> float:
        return self._calculate_seconds_until(self._settings.saving_seconds)

    def close(self) -> list[FileRecord]:
        """Return the records. Files that are not done by now are left to a later invocation."""
        with self._lock:
            self._is_closed = True
            return self._records

    def process(self, reference: FileReference) -> None:
        """Harvest the file and keep its record, unless a later invocation has to."""
        remaining_seconds = self._calculate_seconds_until(self._settings.reserved_seconds)
        if remaining_seconds <= 0 or self._is_byte_limit_reached():
            return
        location = replace(self._location, path=reference.path)
        timeout_seconds = min(remaining_seconds, self._settings.fetch_timeout_seconds)
        try:
            record = self._file_harvester.harvest(
                reference,
                location,
                self._options,
                timeout_seconds=timeout_seconds,
                image_deadline=self._image_deadline,
            )
        except FetchDeferredError:
            return
        with self._lock:
            if self._is_closed:
                return
            self._fetched_bytes += record.bytes_before
            self._records.append(record)
        self._on_file_harvested(record)

    def _calculate_seconds_until(self, reserved_seconds: float) -> float:
        """Return the seconds until only the reserved ones are left, 0 if that is past."""
        left = (self._deadline - self._clock.now()).total_seconds()
        return max(0.0, left - reserved_seconds)

    def _is_byte_limit_reached(self) -> bool:
        with self._lock:
            return self._fetched_bytes >= self._settings.max_invocation_bytes


def _limit_text(records: Iterable[FileRecord], max_text_bytes: int) -> tuple[FileRecord, ...]:
    """Drop the texts of the last files once all together exceed the limit, which bounds the job's record."""
    limited = []
    for record in records:
        max_text_bytes -= sum(len(name.encode()) + len(text.encode()) for name, text in record.text.items())
        limited.append(record if max_text_bytes >= 0 else replace(record, text={}))
    return tuple(limited)
