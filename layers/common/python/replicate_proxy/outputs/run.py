"""One invocation's share of a job: which files it still takes on, and how long each may last."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from replicate_proxy.outputs.errors import DeferredError
from replicate_proxy.outputs.store import Place

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from replicate_proxy.outputs.options import ImageOptions
    from replicate_proxy.outputs.records import FileRecord
    from replicate_proxy.outputs.settings import HarvestSettings
    from replicate_proxy.outputs.single import SingleFile
    from replicate_proxy.outputs.walk import FileRef
    from replicate_proxy.ports import Clock

__all__ = ["Run"]


class Run:
    """Called by several threads, one file each."""

    def __init__(
        self,
        *,
        single: SingleFile,
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

    def take(self, ref: FileRef) -> FileRecord | None:
        """The file's record, or None when it has to wait for the next invocation."""
        seconds = self._seconds_left()
        if seconds <= 0 or self._full():
            return None
        place = Place(self._tenant, self._job_id, ref.path)
        allowed = min(seconds, self._settings.fetch_seconds)
        try:
            record = self._single.harvest(ref, place, self._options, seconds=allowed)
        except DeferredError:
            return None
        with self._lock:
            self._fetched += record.bytes_before
        self._observe(record)
        return record

    def _seconds_left(self) -> float:
        return (self._deadline - self._clock.now()).total_seconds() - self._settings.reserve_seconds

    def _full(self) -> bool:
        with self._lock:
            return self._fetched >= self._settings.max_invocation_bytes
