"""All files of one output: in parallel, as many as one invocation can take, the rest left to the next one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from replicate_proxy.outputs.records import FileRecord, HarvestResult
from replicate_proxy.outputs.run import Run
from replicate_proxy.outputs.walk import FileRef, Path, find_files, replace_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from replicate_proxy.outputs.options import ImageOptions
    from replicate_proxy.outputs.settings import HarvestSettings
    from replicate_proxy.outputs.single import SingleFile
    from replicate_proxy.ports import Clock

__all__ = ["OutputHarvester"]


class OutputHarvester:
    """`observe` is told each file's record as it is made, for metrics and log lines; it must not raise."""

    def __init__(
        self,
        *,
        single: SingleFile,
        settings: HarvestSettings,
        clock: Clock,
        observe: Callable[[FileRecord], None] = lambda _: None,
    ) -> None:
        self._single = single
        self._settings = settings
        self._clock = clock
        self._observe = observe

    def harvest(
        self,
        *,
        tenant: str,
        job_id: str,
        output: Any,
        options: ImageOptions,
        deadline: datetime,
        already: tuple[FileRecord, ...] = (),
    ) -> HarvestResult:
        """Stores what the output refers to and gives the output back with our URLs in the same places.

        `deadline` is the invocation's end. `already` are the records of earlier invocations; their files are
        not touched again (leave out those with `retry` to have them tried again). No file makes this raise:
        what cannot be had stays where it is and its record says why.
        """
        done = {record.path: record for record in already}
        references = find_files(output)
        run = Run(
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
        urls = {record.path: record.url for record in records if record.outcome != "left"}
        remaining = tuple(ref.path for ref in references if ref.path not in done)
        return HarvestResult(output=replace_files(output, urls), files=records, remaining=remaining)

    def _harvest_new(self, references: list[FileRef], run: Run) -> dict[Path, FileRecord]:
        """Each distinct URL once, however often it is named; what was put off is not in the answer."""
        groups: dict[str, list[Path]] = {}
        for ref in references:
            groups.setdefault(ref.url, []).append(ref.path)
        firsts = [FileRef(paths[0], url) for url, paths in groups.items()]
        taken, beyond = firsts[: self._settings.max_files], firsts[self._settings.max_files :]
        if not firsts:
            return {}
        workers = min(self._settings.parallel_files, len(firsts))
        with ThreadPoolExecutor(workers, thread_name_prefix="harvest") as threads:
            records = [record for record in threads.map(run.take, taken) if record is not None]
        records += [FileRecord(ref.path, "left", ref.url, "too_many_files") for ref in beyond]
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
