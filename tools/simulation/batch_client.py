"""What a caller does about large batches: it uploads lines, and repeats each request until it is answered."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any

from replicate_proxy.errors import ApiError, NotFoundError
from replicate_proxy.services.batch_views import summarize_batch
from tools.simulation.world import ServiceUnavailableError

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from replicate_proxy.auth.principal import Principal
    from replicate_proxy.jobs.model import Batch
    from replicate_proxy.services.batch_reader import BatchState
    from replicate_proxy.services.large_batches import LargeBatchRequest
    from tools.simulation.batch_invariants import BatchInvariants
    from tools.simulation.functions.ingest import Ingest
    from tools.simulation.world import World

_MAX_ATTEMPTS = 6


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


class BatchClient:
    """The requests of the callers of one world, from the actor that makes them."""

    def __init__(self, world: World, invariants: BatchInvariants) -> None:
        self._world = world
        self._invariants = invariants

    def upload(self, tenant: str, lines: Sequence[ExpectedLine], *, ends_with_newline: bool = False) -> str:
        """Upload the lines and return the ID of the file."""
        content = "\n".join(line.text for line in lines) + ("\n" if ends_with_newline else "")
        file = self._world.components.files.add(tenant, content.encode())
        self._invariants.expect_lines(file.id, lines)
        return file.id

    def delete_file(self, file_id: str) -> None:
        """Delete an input file, whether it was read or not."""
        self._invariants.expect_deleted_file(file_id)
        self._world.components.files.delete(file_id)

    def create(self, request: LargeBatchRequest, principal: Principal) -> Batch | None:
        """Return the batch, None if its file is deleted, its tenant erased, or if there is no answer."""
        for attempt in range(_MAX_ATTEMPTS):
            try:
                batch = self._world.call_api(lambda ingest: ingest.create_large_batch(request, principal))
            except ServiceUnavailableError:
                # Without a key, a request of unknown outcome is not repeated.
                if request.idempotency_key is None:
                    return None
                self._world.scheduler.sleep(self._random.uniform(0.5, 2.0) * 2**attempt)
                continue
            except ApiError:
                is_erased = self._invariants.is_erased(principal.tenant)
                if is_erased or self._invariants.is_file_deleted(request.input_file):
                    return None
                raise
            self._invariants.accept(batch)
            return batch
        return None

    def cancel(self, batch: Batch) -> None:
        """Cancel the batch."""
        self._invariants.expect_cancel(batch)
        for attempt in range(_MAX_ATTEMPTS):
            try:
                self._world.call_api(lambda ingest: ingest.large_batches.cancel(batch.tenant, batch.id))
            except ServiceUnavailableError:
                # Perhaps since the retention of the batch has ended.
                self._world.scheduler.sleep(1.0 + attempt)
                continue
            return

    def read(self, batch: Batch) -> bool:
        """Read the batch once, and return whether it is still there as far as is known."""
        try:
            state = self._world.call_api(partial(_find, batch))
        except ServiceUnavailableError:
            return True
        if state is None:
            self._invariants.check_missing(batch)
            return False
        self._invariants.check_view(batch, summarize_batch(state, self._world.clock.now()))
        return True

    @property
    def _random(self) -> random.Random:
        return self._world.scheduler.actor.random


def _find(batch: Batch, ingest: Ingest) -> BatchState | None:
    try:
        return ingest.batches.get(batch.tenant, batch.id)
    except NotFoundError:
        return None
