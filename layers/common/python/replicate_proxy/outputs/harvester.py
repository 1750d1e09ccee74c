"""All files of one output: in parallel, within what one invocation can take, the rest left to the next one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from replicate_proxy.outputs.errors import DeferredError
from replicate_proxy.outputs.options import ImageOptions
from replicate_proxy.outputs.records import FileRecord, HarvestResult
from replicate_proxy.outputs.settings import HarvestSettings
from replicate_proxy.outputs.single import SingleFile
from replicate_proxy.outputs.store import Place
from replicate_proxy.outputs.walk import FileRef, Path, find_files, replace_files

__all__ = ["OutputHarvester"]


class OutputHarvester:
    """`observe` is told each file's record as it is made, for metrics and log lines; it must not raise."""

    def __init__(
        self,
        *,
        single: SingleFile,
        settings: HarvestSettings,
        observe: Callable[[FileRecord], None] = lambda _: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._single = single
        self._settings = settings
        self._observe = observe
        self._monotonic = monotonic

    def harvest(
        self,
        *,
        job_id: str,
        tenant: str,
        output: Any,
        options: ImageOptions,
        deadline: float,
        already: Iterable[FileRecord] = (),
    ) -> HarvestResult:
        """Stores what the output refers to and gives the output back with our URLs in the same places.

        `deadline` is on the monotonic clock, in seconds: the invocation's end. `already` are the records of earlier
        invocations; their files are not touched again (leave out those with `retry` to have them tried again).
        No file makes this raise: what cannot be had stays where it is and its record says why.
        """
        done = {record.path: record for record in already}
        references = find_files(output)
        run = _Run(self, job_id, tenant, options, deadline)
        waiting = [ref for ref in references if ref.path not in done]
        groups = _by_url(waiting)
        with ThreadPoolExecutor(self._settings.parallel_files, thread_name_prefix="harvest") as threads:
            for paths, record in zip(groups.values(), threads.map(run.one, _firsts(groups)), strict=True):
                if record is not None:
                    done |= {path: replace(record, path=path) for path in paths}
        records = _bounded(
            (done[ref.path] for ref in references if ref.path in done), self._settings.max_text_bytes_per_job
        )
        urls = {record.path: record.url for record in records if record.outcome != "left"}
        remaining = tuple(ref.path for ref in references if ref.path not in done)
        return HarvestResult(output=replace_files(output, urls), files=records, remaining=remaining)


@dataclass
class _Run:
    """One invocation's share of a job: what it has fetched so far and when it must end."""

    harvester: OutputHarvester
    job_id: str
    tenant: str
    options: ImageOptions
    deadline: float
    fetched_bytes: int = 0
    finished: int = 0

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    def one(self, ref: FileRef) -> FileRecord | None:
        """The file's record, or None when it has to wait for the next invocation."""
        settings = self.harvester._settings
        left = self.deadline - self.harvester._monotonic() - settings.reserve_seconds
        if self._over(left, settings):
            return None
        place = Place(self.tenant, self.job_id, ref.path)
        try:
            record = self.harvester._single.harvest(
                ref, place, self.options, seconds=max(1.0, min(left, settings.fetch_seconds))
            )
        except DeferredError:
            return None
        with self._lock:
            self.fetched_bytes += record.bytes_before
            self.finished += 1
        self.harvester._observe(record)
        return record

    def _over(self, left: float, settings: HarvestSettings) -> bool:
        with self._lock:
            return left <= 0 or self.fetched_bytes >= settings.max_invocation_bytes


def _by_url(references: list[FileRef]) -> dict[str, list[Path]]:
    """A URL that an output names twice is fetched and stored once."""
    groups: dict[str, list[Path]] = {}
    for ref in references:
        groups.setdefault(ref.url, []).append(ref.path)
    return groups


def _firsts(groups: dict[str, list[Path]]) -> list[FileRef]:
    return [FileRef(paths[0], url) for url, paths in groups.items()]


def _bounded(records: Iterable[FileRecord], text_bytes: int) -> tuple[FileRecord, ...]:
    """The models' texts go into the job's record, which has a largest size: later files' texts give way."""
    kept = []
    for record in records:
        text_bytes -= sum(len(name.encode()) + len(text.encode()) for name, text in record.text.items())
        kept.append(record if text_bytes >= 0 else replace(record, text={}))
    return tuple(kept)
