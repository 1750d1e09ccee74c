"""Fakes of the queues, limiters and outputs around the pipeline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from replicate_proxy.contracts.commands import DispatchCommand
from replicate_proxy.contracts.events import Event
from replicate_proxy.contracts.stream_urls import KnownStream
from replicate_proxy.errors import RetryableError
from replicate_proxy.images.options import ImageOptions
from replicate_proxy.jobs.model import SHARED_ACCOUNT, Account, Submission
from replicate_proxy.outputs.records import FileOutcome, FileRecord, HarvestResult
from replicate_proxy.replicate_api.known_models import NothingKnown
from tests.support.fakes import Faults

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.pipeline import Pipeline


class FakeStreamDirectory(NothingKnown):
    """Knows for all models alike what they stream."""

    stream: KnownStream | None = None

    def find_stream(self, submission: Submission, account: Account = SHARED_ACCOUNT) -> KnownStream | None:
        return self.stream

    def record_stream(
        self, submission: Submission, stream: KnownStream, account: Account = SHARED_ACCOUNT
    ) -> None:
        self.stream = stream


class FakeBatchLimiter:
    """Makes every batch wait for `delay_seconds`, and records the calls."""

    def __init__(self) -> None:
        self.delay_seconds = 0.0
        self.calls: list[tuple[str, int]] = []

    def acquire_slot(self, tenant: str, slots: int) -> float:
        self.calls.append((tenant, slots))
        return self.delay_seconds


class FakeRefreshLimiter:
    """Makes every refresh wait for `delay_seconds`."""

    delay_seconds = 0.0

    def acquire_slot(self) -> float:
        return self.delay_seconds


@dataclass
class FakeDispatchQueue:
    """The dispatch queue; the pipeline's dispatcher handles its messages."""

    pipeline: Pipeline

    def send(self, command: DispatchCommand, *, delay_seconds: float = 0) -> None:
        if self.pipeline.fault_occurs("queue.failed"):
            raise RetryableError("queue.failed")
        self.pipeline.enqueue(lambda: self.pipeline.dispatcher.handle_command(command), delay_seconds)

    def send_all(self, commands: Sequence[DispatchCommand]) -> None:
        for command in commands:
            self.send(command)


@dataclass
class FakeHarvestQueue:
    """The harvest queue, for continuations."""

    pipeline: Pipeline

    def send(self, event: Event, *, tenant: str, delay_seconds: float = 0) -> None:
        self.pipeline.enqueue_event(event, delay_seconds)


class FakeOutputHarvester:
    """Returns the queued `results`, then a result of one stored file; records the earlier records it gets."""

    def __init__(self) -> None:
        self.faults = Faults()
        self.results: list[HarvestResult] = []
        self.calls: list[tuple[FileRecord, ...]] = []
        self.privacy: list[bool] = []
        self.options: list[ImageOptions] = []

    def harvest(self, *, earlier_records: tuple[FileRecord, ...] = (), **arguments: Any) -> HarvestResult:
        self.calls.append(earlier_records)
        self.privacy.append(arguments["is_private"])
        self.options.append(arguments["options"])
        self.faults.raise_planned("harvest")
        if self.results:
            return self.results.pop(0)
        url = f"https://outputs.test/{arguments['job_id']}.webp"
        return HarvestResult(output=[url], records=(FileRecord((0,), FileOutcome.STORED, url),))
