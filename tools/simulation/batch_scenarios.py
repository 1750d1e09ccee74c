"""The small scenarios of large batches: two or three lines, each of which is a part of the results.

Lines without a job keep a scenario short: the worker expands, writes the results and notifies at once. The
sweep starts the worker at full minutes. What a caller does comes after everything else of its time, so that
one preemption of the worker puts it between any two steps of the worker.
"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

from replicate_proxy.auth.principal import Principal
from replicate_proxy.services.large_batches import LargeBatchRequest
from tools.simulation.batch_client import BatchClient, ExpectedLine, LineKind
from tools.simulation.batch_reads import ResultReaders
from tools.simulation.functions.components import Features
from tools.simulation.query import BASE_URL
from tools.simulation.scenario import Cast, Scenario

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from replicate_proxy.jobs.model import Batch

_VERSION = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"
# The sweep starts a worker at full minutes, and the lease of one that has paused for so long has ended.
_MINUTE = 60.0
_LONGER_THAN_LEASE = 61.0
_REMOVAL_SECONDS = 27 * 3600.0

type Act = Callable[[BatchClient, Batch], object]


def _build_line(number: int) -> ExpectedLine:
    line = {"custom_id": f"line-{number}", "version": _VERSION, "input": {"prompt": "a cat"}}
    return ExpectedLine(json.dumps(line), LineKind.GOOD, f"line-{number}", {"prompt": "a cat"})


_BAD_LINE = ExpectedLine("{not json", LineKind.NOT_JSON, None, {})
_GOOD = (_build_line(1), _build_line(2))
_MIXED = (_build_line(1), _BAD_LINE)
_BAD = (_BAD_LINE, _BAD_LINE)


def _start(
    cast: Cast,
    *,
    lines: Sequence[ExpectedLine],
    act: Act | None = None,
    act_after_seconds: float = 0.0,
    has_webhook: bool = False,
    retention_seconds: int | None = None,
) -> None:
    """Let a caller create a batch, and do something with it later."""
    client = BatchClient(cast.world, cast.batches)
    webhook = cast.add_receiver("https://acme.test/hook") if has_webhook else None

    def run() -> None:
        request = LargeBatchRequest(
            input_file=client.upload("acme", lines),
            public_base_url=BASE_URL,
            correlation_id="scenario",
            webhook=webhook,
            retention_seconds=retention_seconds,
            idempotency_key="key",
        )
        batch = client.create(request, Principal("acme", "key-1"))
        if batch is None or act is None:
            return
        cast.world.scheduler.sleep(act_after_seconds)
        cast.world.scheduler.yield_to_others()
        act(client, batch)

    cast.spawn("caller", run)


def _delete_file(client: BatchClient, batch: Batch) -> None:
    if batch.large is not None:
        client.delete_file(batch.large.input_file)


def _start_with_readers(cast: Cast, *, lines: Sequence[ExpectedLine], starts: Sequence[float]) -> None:
    """Let a caller create a batch whose results others read at these times, in seconds."""
    readers = ResultReaders(cast.world, cast.batches)

    def read(_client: BatchClient, batch: Batch) -> None:
        for seconds in starts:
            cast.spawn(f"reader-{seconds:g}", partial(readers.walk, batch), delay_seconds=seconds)

    _start(cast, lines=lines, act=read)


_FEATURES = Features(has_batches=True)

BATCH_SCENARIOS: Mapping[str, Scenario] = {
    "batch": Scenario(
        description="a batch of a good and a bad line, with its webhook",
        start=partial(_start, lines=_MIXED, has_webhook=True),
        features=_FEATURES,
        choices=1,
    ),
    "batch-expand": Scenario(
        description="a batch of three bad lines, two of which are a slice",
        start=partial(_start, lines=(*_BAD, _BAD_LINE)),
        features=_FEATURES,
        slice_lines=2,
    ),
    "batch-workers": Scenario(
        description="a batch whose worker is started twice, and replaced by another one while it is slow",
        start=partial(_start, lines=_MIXED),
        features=_FEATURES,
        duplicates_invocations=True,
        pauses=(_LONGER_THAN_LEASE,),
        choices=1,
    ),
    "batch-slow": Scenario(
        description="a batch of two bad lines whose worker is slow, so that others go on with it",
        start=partial(_start, lines=_BAD),
        features=_FEATURES,
        pauses=(_LONGER_THAN_LEASE,),
    ),
    "batch-cancel": Scenario(
        description="a batch of two good lines that is canceled while it is expanded",
        start=partial(_start, lines=_GOOD, act=BatchClient.cancel),
        features=_FEATURES,
        run_seconds=(0.0, _MINUTE),
        choices=1,
    ),
    "batch-cancel-results": Scenario(
        description="a batch that is canceled while its results are written",
        start=partial(_start, lines=_MIXED, act=BatchClient.cancel, act_after_seconds=_MINUTE),
        features=_FEATURES,
        choices=1,
    ),
    "batch-cancel-bad": Scenario(
        description="a batch of two bad lines that is canceled at any time",
        start=partial(_start, lines=_BAD, act=BatchClient.cancel),
        features=_FEATURES,
    ),
    "batch-file": Scenario(
        description="a batch whose input file is deleted while it is expanded",
        start=partial(_start, lines=_MIXED, act=_delete_file),
        features=_FEATURES,
        choices=1,
    ),
    "batch-results": Scenario(
        description="a batch of two bad lines whose results are read while they come",
        start=partial(_start_with_readers, lines=_BAD, starts=(0.0,)),
        features=_FEATURES,
    ),
    "batch-results-end": Scenario(
        description="a batch whose results are read while its job ends, and while the file is written",
        start=partial(_start_with_readers, lines=_MIXED, starts=(0.0, _MINUTE)),
        features=_FEATURES,
        choices=1,
    ),
    "batch-removed": Scenario(
        description="a batch of two bad lines that is removed at the end of its retention",
        start=partial(_start, lines=_BAD, retention_seconds=60),
        features=_FEATURES,
    ),
    "batch-retention": Scenario(
        description="a batch whose job is deleted while the results are written, and that is removed",
        start=partial(_start, lines=_MIXED, retention_seconds=60),
        features=Features(has_batches=True, has_deletions=True),
        rest_seconds=_REMOVAL_SECONDS,
        choices=1,
    ),
}
