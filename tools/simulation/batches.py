"""Callers of large batches: they upload files with good and bad lines, create batches and cancel some."""

from __future__ import annotations

import json
import random
from functools import partial
from typing import TYPE_CHECKING, Any

from replicate_proxy.auth.principal import Principal
from replicate_proxy.services.large_batches import LargeBatchRequest
from tools.simulation.batch_client import BatchClient, ExpectedLine, LineKind
from tools.simulation.batch_reads import ResultReaders
from tools.simulation.callers import build_hook_url
from tools.simulation.replicate import MAX_WIDTH

if TYPE_CHECKING:
    from replicate_proxy.jobs.model import Batch
    from tools.simulation.batch_invariants import BatchInvariants
    from tools.simulation.run import RunSettings
    from tools.simulation.world import World

MODEL = "acme/model"
_VERSION = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"
_OTHER_MODEL = "acme/second"
_PROMPTS = ("a cat", "a cat", "a cat", "a dog", "rejected")
_BASE_URL = "https://api.proxy.test/prod"
_MAX_LINES = 14
_MEAN_LINES = 7
# The results are read while lines are expanded, while their jobs run, and after the end.
_READ_DELAYS_SECONDS = (0.2, 30.0, 1800.0)
_SHORTEST_RETENTION_SECONDS = 3600
_BAD_SHARE = 0.25


class BatchCallers:
    """The callers of one world: so many that `share` of a run's jobs come from their files, in addition."""

    def __init__(
        self,
        world: World,
        invariants: BatchInvariants,
        settings: RunSettings,
        *,
        tenants: tuple[str, ...],
    ) -> None:
        self._world = world
        self._client = BatchClient(world, invariants)
        self._readers = ResultReaders(world, invariants)
        self._settings = settings
        self._tenants = tenants

    def start(self) -> None:
        """Schedule the callers in the time in which other jobs arrive, too."""
        source = random.Random(f"{self._world.scheduler.seed}/batches")
        count = max(1, round(self._settings.jobs * self._settings.batch_share / _MEAN_LINES))
        for number in range(count):
            self._world.scheduler.spawn(
                f"batch-caller-{number}",
                self._run,
                delay_seconds=source.uniform(0, self._settings.fault_seconds / 3),
            )

    def start_erased(self, count: int, *, seconds: float) -> None:
        """Schedule callers of a tenant that is erased then, who do not come back for the results."""
        source = random.Random(f"{self._world.scheduler.seed}/erased-batches")
        for number in range(count):
            self._world.scheduler.spawn(
                f"erased-batch-{number}", self._run_once, delay_seconds=source.uniform(0, seconds)
            )

    def _run_once(self) -> None:
        self._create()

    def _create(self) -> Batch | None:
        source = self._random
        tenant = source.choice(self._tenants)
        models = (MODEL,) if source.random() < 0.3 else ()
        hook = build_hook_url(tenant)
        lines = [
            self._draw_line(number, hook, is_restricted=bool(models))
            for number in range(1, source.randint(1, _MAX_LINES) + 1)
        ]
        file_id = self._client.upload(tenant, lines, ends_with_newline=source.random() < 0.5)
        request = LargeBatchRequest(
            input_file=file_id,
            public_base_url=_BASE_URL,
            correlation_id=self._name,
            webhook=hook if source.random() < 0.6 else None,
            cancel_after_seconds=source.choice((30, 600)) if source.random() < 0.1 else None,
            retention_seconds=self._draw_retention(),
            idempotency_key=self._name if source.random() < 0.8 else None,
        )
        if source.random() < 0.1:
            delay_seconds = source.expovariate(1 / 5)
            self._world.scheduler.spawn(
                f"{self._name}-file", partial(self._client.delete_file, file_id), delay_seconds=delay_seconds
            )
        return self._client.create(request, Principal(tenant, "key-1", models=models))

    def _run(self) -> None:
        batch, source = self._create(), self._random
        if batch is None:
            return
        self._read_results(batch)
        if source.random() < 0.4:
            # During the expansion, or while the predictions run
            self._world.scheduler.sleep(source.expovariate(1 / source.choice((0.1, 0.1, 20))))
            self._client.cancel(batch)
        self._watch(batch)

    def _draw_line(self, number: int, hook: str, *, is_restricted: bool) -> ExpectedLine:
        source = self._random
        kind = self._draw_kind(is_restricted=is_restricted)
        custom_id = f"line-{number}" if source.random() < 0.9 else "same"
        line: dict[str, Any] = {"custom_id": custom_id, "input": {"prompt": source.choice(_PROMPTS)}}
        if kind is LineKind.REFUSED_MODEL:
            line["model"] = _OTHER_MODEL
        elif kind is not LineKind.NO_TARGET:
            by_name = is_restricted or source.random() < 0.5
            line |= {"model": MODEL} if by_name else {"version": _VERSION}
        if source.random() < 0.2:
            line["webhook"] = hook
        if kind is LineKind.NO_CUSTOM_ID:
            del line["custom_id"]
        if self._settings.invalid_share > 0:
            line["input"]["width"] = MAX_WIDTH + (kind is LineKind.INVALID_INPUT)
        text = {LineKind.NOT_JSON: "{not json", LineKind.EMPTY: " "}.get(kind) or json.dumps(line)
        is_read = kind not in {LineKind.NOT_JSON, LineKind.EMPTY}
        return ExpectedLine(text, kind, line.get("custom_id") if is_read else None, line["input"])

    def _draw_kind(self, *, is_restricted: bool) -> LineKind:
        if self._random.random() >= _BAD_SHARE:
            return LineKind.GOOD
        kinds = [LineKind.NOT_JSON, LineKind.EMPTY, LineKind.NO_TARGET, LineKind.NO_CUSTOM_ID]
        kinds += [LineKind.REFUSED_MODEL] * 2 if is_restricted else []
        kinds += [LineKind.INVALID_INPUT] * 2 if self._settings.invalid_share > 0 else []
        return self._random.choice(kinds)

    def _draw_retention(self) -> int | None:
        share = self._settings.delete_share
        return _SHORTEST_RETENTION_SECONDS if self._random.random() < share else None

    def _read_results(self, batch: Batch) -> None:
        """Let others of the tenant read the results: while they come, and once more after the end."""
        source = random.Random(f"{self._world.scheduler.seed}/{self._name}/results")
        for number, mean_seconds in enumerate(_READ_DELAYS_SECONDS):
            self._world.scheduler.spawn(
                f"{self._name}-results-{number}",
                partial(self._readers.walk, batch),
                delay_seconds=source.expovariate(1 / mean_seconds),
            )

    def _watch(self, batch: Batch) -> None:
        """Read the batch a few times, as a client polls."""
        for delay in (1.0, 10.0, 60.0, 600.0, 3000.0):
            self._world.scheduler.sleep(delay * self._random.uniform(0.5, 1.5))
            if not self._client.read(batch):
                return

    @property
    def _random(self) -> random.Random:
        return self._world.scheduler.actor.random

    @property
    def _name(self) -> str:
        return self._world.scheduler.actor.name
