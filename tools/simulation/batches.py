"""Callers of large batches: they upload files with good and bad lines, create batches and cancel some."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any

from replicate_proxy.auth.principal import Principal
from replicate_proxy.errors import ApiError, NotFoundError
from replicate_proxy.services.batch_views import summarize_batch
from replicate_proxy.services.large_batches import LargeBatchRequest
from tools.simulation.replicate import MAX_WIDTH
from tools.simulation.workload import build_hook_url
from tools.simulation.world import ServiceUnavailableError

if TYPE_CHECKING:
    from replicate_proxy.jobs.model import Batch
    from replicate_proxy.services.batch_reader import BatchState
    from tools.simulation.batch_invariants import BatchInvariants
    from tools.simulation.functions import Ingest
    from tools.simulation.run import RunSettings
    from tools.simulation.world import World

MODEL = "acme/model"
_VERSION = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"
_OTHER_MODEL = "acme/second"
_PROMPTS = ("a cat", "a cat", "a cat", "a dog", "rejected")
_BASE_URL = "https://api.proxy.test/prod"
_MAX_LINES = 14
_MEAN_LINES = 7
_MAX_ATTEMPTS = 6
_SHORTEST_RETENTION_SECONDS = 3600
_BAD_SHARE = 0.25


class LineKind(StrEnum):
    """What is wrong with a line."""

    GOOD = "good"
    NOT_JSON = "not JSON"
    EMPTY = "empty"
    NO_TARGET = "without a target"
    NO_CUSTOM_ID = "without a custom ID"
    REFUSED_MODEL = "for a model that the key may not run"
    # Rejected once the schema of the model is known, and by Replicate before that.
    INVALID_INPUT = "with an invalid input"


@dataclass(frozen=True, slots=True)
class ExpectedLine:
    """A line of an input file, and what its caller knows about it."""

    text: str
    kind: LineKind
    custom_id: str | None
    input: dict[str, Any]


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
        self._invariants = invariants
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

    def _run(self) -> None:
        source = self._random
        tenant = source.choice(self._tenants)
        models = (MODEL,) if source.random() < 0.3 else ()
        hook = build_hook_url(tenant)
        lines = [
            self._draw_line(number, hook, is_restricted=bool(models))
            for number in range(1, source.randint(1, _MAX_LINES) + 1)
        ]
        content = "\n".join(line.text for line in lines) + ("\n" if source.random() < 0.5 else "")
        file = self._world.composition.files.add(tenant, content.encode())
        self._invariants.expect_lines(file.id, lines)
        request = LargeBatchRequest(
            input_file=file.id,
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
                f"{self._name}-file", partial(self._delete_file, file.id), delay_seconds=delay_seconds
            )
        batch = self._create(request, Principal(tenant, "key-1", models=models))
        if batch is None:
            return
        if source.random() < 0.4:
            # During the expansion, or while the predictions run
            self._world.scheduler.sleep(source.expovariate(1 / source.choice((0.1, 0.1, 20))))
            self._cancel(batch)
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

    def _delete_file(self, file_id: str) -> None:
        self._invariants.expect_deleted_file(file_id)
        self._world.composition.files.delete(file_id)

    def _create(self, request: LargeBatchRequest, principal: Principal) -> Batch | None:
        for attempt in range(_MAX_ATTEMPTS):
            try:
                batch, _ = self._world.call_api(
                    lambda ingest: ingest.large_batches.create(request, principal)
                )
            except ServiceUnavailableError:
                # Without a key, a request of unknown outcome is not repeated.
                if request.idempotency_key is None:
                    return None
                self._world.scheduler.sleep(self._random.uniform(0.5, 2.0) * 2**attempt)
                continue
            except ApiError:
                if self._invariants.is_file_deleted(request.input_file):
                    return None
                raise
            self._invariants.accept(batch)
            return batch
        return None

    def _cancel(self, batch: Batch) -> None:
        self._invariants.expect_cancel(batch)
        for attempt in range(_MAX_ATTEMPTS):
            try:
                self._world.call_api(lambda ingest: ingest.large_batches.cancel(batch.tenant, batch.id))
            except ServiceUnavailableError:
                # Perhaps since the retention of the batch has ended.
                self._world.scheduler.sleep(1.0 + attempt)
                continue
            return

    def _watch(self, batch: Batch) -> None:
        """Read the batch a few times, as a client polls."""
        for delay in (1.0, 10.0, 60.0, 600.0, 3000.0):
            self._world.scheduler.sleep(delay * self._random.uniform(0.5, 1.5))
            try:
                state = self._world.call_api(partial(_find, batch))
            except ServiceUnavailableError:
                continue
            if state is None:
                self._invariants.check_missing(batch)
                return
            self._invariants.check_view(batch, summarize_batch(state, self._world.clock.now()))

    @property
    def _random(self) -> random.Random:
        return self._world.scheduler.actor.random

    @property
    def _name(self) -> str:
        return self._world.scheduler.actor.name


def _find(batch: Batch, ingest: Ingest) -> BatchState | None:
    try:
        return ingest.batches.get(batch.tenant, batch.id)
    except NotFoundError:
        return None
