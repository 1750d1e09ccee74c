"""A log line and a metric for every harvested file: hash, format, size, reason; never content or address.

One invocation's share of a job: which files it still takes on, and how long each may last.

All files of one output: in parallel, as many as one invocation can take, the rest left to the next one.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import single_metric
from aws_lambda_powertools.metrics import MetricUnit

from replicate_proxy.observability import logger
from replicate_proxy.outputs.fetch import FileDeferredError
from replicate_proxy.outputs.records import FileOutcome, FileRecord, HarvestResult
from replicate_proxy.outputs.references import FileReference, JsonPath, find_references, replace_references
from replicate_proxy.outputs.storage import ObjectLocation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from replicate_proxy.images.options import ImageOptions
    from replicate_proxy.outputs.file_harvester import FileHarvester
    from replicate_proxy.outputs.settings import HarvestSettings
    from replicate_proxy.ports import Clock


def build_log_fields(record: FileRecord) -> dict[str, Any]:
    """What may be said about a file; the source's host is named, its address is not."""
    return {
        "outcome": record.outcome,
        "reason": record.reason,
        "kind": record.kind,
        "format": record.format,
        "source_host": record.source_host,
        "source_sha256": record.source_sha256,
        "bytes_before": record.bytes_before,
        "bytes_after": record.bytes_after,
        "width": record.width,
        "height": record.height,
    }


def record(record: FileRecord) -> None:
    """`FileHarvested` with dimensions outcome and reason; a warning where the file is not as good as it
    should be.
    """
    say = logger.warning if record.outcome.is_degraded else logger.info
    say("file harvested", extra=build_log_fields(record))
    with single_metric(name="FileHarvested", unit=MetricUnit.Count, value=1) as metric:
        metric.add_dimension(name="outcome", value=record.outcome)
        metric.add_dimension(name="reason", value=record.reason or "none")


class HarvestBatch:
    """Called by several threads, one file each."""

    def __init__(
        self,
        *,
        single: FileHarvester,
        settings: HarvestSettings,
        observe: Callable[[FileRecord], None],
        clock: Clock,
        deadline: datetime,
        tenant: str,
        job_id: str,
        options: ImageOptions,
    ) -> None:
        self._single = single
        self._settings = settings
        self._observe = observe
        self._clock = clock
        self._deadline = deadline
        self._tenant = tenant
        self._job_id = job_id
        self._options = options
        self._fetched = 0
        self._lock = threading.Lock()

    def process(self, ref: FileReference) -> FileRecord | None:
        """The file's record, or None when it has to wait for the next invocation."""
        seconds = self._seconds_left()
        if seconds <= 0 or self._full():
            return None
        place = ObjectLocation(self._tenant, self._job_id, ref.path)
        allowed = min(seconds, self._settings.fetch_timeout_seconds)
        try:
            record = self._single.harvest(ref, place, self._options, timeout_seconds=allowed)
        except FileDeferredError:
            return None
        with self._lock:
            self._fetched += record.bytes_before
        self._observe(record)
        return record

    def _seconds_left(self) -> float:
        return (self._deadline - self._clock.now()).total_seconds() - self._settings.reserved_seconds

    def _full(self) -> bool:
        with self._lock:
            return self._fetched >= self._settings.max_invocation_bytes


class ParallelOutputHarvester:
    """`observe` is told each file's record as it is made, for metrics and log lines; it must not raise."""

    def __init__(
        self,
        *,
        file_harvester: FileHarvester,
        settings: HarvestSettings,
        clock: Clock,
        on_file_harvested: Callable[[FileRecord], None] = lambda _: None,
    ) -> None:
        self._single = file_harvester
        self._settings = settings
        self._clock = clock
        self._observe = on_file_harvested

    def harvest(
        self,
        *,
        tenant: str,
        job_id: str,
        output: Any,
        options: ImageOptions,
        deadline: datetime,
        earlier_records: tuple[FileRecord, ...] = (),
    ) -> HarvestResult:
        """Stores what the output refers to and gives the output back with our URLs in the same places.

        `deadline` is the invocation's end. `already` are the records of earlier invocations; their files are
        not touched again (leave out those with `retry` to have them tried again). No file makes this raise:
        what cannot be had stays where it is and its record says why.
        """
        done = {record.path: record for record in earlier_records}
        references = find_references(output)
        run = HarvestBatch(
            single=self._single,
            settings=self._settings,
            observe=self._observe,
            clock=self._clock,
            deadline=deadline,
            tenant=tenant,
            job_id=job_id,
            options=options,
        )
        done |= self._harvest_new([ref for ref in references if ref.path not in done], run)
        records = _bounded(
            (done[ref.path] for ref in references if ref.path in done), self._settings.max_text_bytes_per_job
        )
        urls = {record.path: record.url for record in records if record.is_stored}
        remaining = tuple(ref.path for ref in references if ref.path not in done)
        return HarvestResult(output=replace_references(output, urls), records=records, remaining=remaining)

    def _harvest_new(self, references: list[FileReference], run: HarvestBatch) -> dict[JsonPath, FileRecord]:
        """Each distinct URL once, however often it is named; what was put off is not in the answer."""
        groups: dict[str, list[JsonPath]] = {}
        for ref in references:
            groups.setdefault(ref.url, []).append(ref.path)
        firsts = [FileReference(paths[0], url) for url, paths in groups.items()]
        taken, beyond = firsts[: self._settings.max_files], firsts[self._settings.max_files :]
        if not firsts:
            return {}
        workers = min(self._settings.max_parallel_files, len(firsts))
        with ThreadPoolExecutor(workers, thread_name_prefix="harvest") as threads:
            records = [record for record in threads.map(run.process, taken) if record is not None]
        records += [FileRecord(ref.path, FileOutcome.NOT_STORED, ref.url, "too_many_files") for ref in beyond]
        by_first = {record.path: record for record in records}
        return {
            path: replace(by_first[paths[0]], path=path)
            for paths in groups.values()
            if paths[0] in by_first
            for path in paths
        }


def _bounded(records: Iterable[FileRecord], text_bytes: int) -> tuple[FileRecord, ...]:
    """The models' texts go into the job's record, which has a largest size: later files' texts give way."""
    kept = []
    for record in records:
        text_bytes -= sum(len(name.encode()) + len(text.encode()) for name, text in record.text.items())
        kept.append(record if text_bytes >= 0 else replace(record, text={}))
    return tuple(kept)
