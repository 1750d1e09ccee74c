"""The fingerprint of a world: two worlds with the same fingerprint go on in the same way.

It covers what is stored, what is under way, what each living process has seen, and what the invariants
remember. The contents of tables and of the bucket are hashed as they are written, so that a fingerprint costs
no pass over them.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from tools.simulation.observation import observe_objects, observe_writes
from tools.simulation.resources import BUCKET

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tools.simulation.choice_plan import ChoicePlan
    from tools.simulation.invariants import Invariants
    from tools.simulation.world import World


class Fingerprints:
    """Calculates the fingerprints of one world. Built before anything is written."""

    def __init__(self, world: World, plan: ChoicePlan, invariants: Invariants) -> None:
        self._world = world
        self._plan = plan
        self._invariants = invariants
        # The XOR of the hashes of all items and objects does not depend on the order of the writes.
        self._stored = 0
        # Hashes of items, objects and stream records, which never change; kept, so that no id is used again.
        self._hashes: dict[int, tuple[object, int]] = {}
        observe_writes(world.aws, self._replace)
        observe_objects(world.aws, BUCKET, self._replace)

    def calculate(self) -> bytes:
        """Return the fingerprint of the world as it is now."""
        world = self._world
        parts = (
            world.scheduler.now,
            self._stored,
            world.scheduler.describe_pending(),
            self._plan.describe_processes(),
            self._plan.outages,
            list(self._describe_queues()),
            [(pending.queue, pending.body, pending.attempts) for pending in world.aws.events.pending],
            list(self._describe_sources()),
            list(self._describe_predictions()),
            self._invariants.describe_memory(),
        )
        return hashlib.blake2b(repr(parts).encode(), digest_size=12).digest()

    def _replace(self, place: str, old: object, new: object) -> None:
        for value in (old, new):
            if value is not None:
                self._stored ^= _hash(f"{place} {self._hash(value)}")

    def _hash(self, value: object) -> int:
        known = self._hashes.get(id(value))
        if known is None:
            # Attributes are in no order.
            text = repr(sorted(value.items()) if isinstance(value, dict) else value)
            known = self._hashes[id(value)] = (value, _hash(text))
        return known[1]

    def _describe_queues(self) -> Iterable[object]:
        for name, queue in self._world.aws.sqs.queues.items():
            counts = (queue.visible_count, queue.delayed_count, queue.in_flight_count)
            if any(counts):
                messages = queue.messages()
                yield name, counts, [(m.body, m.receive_count, m.available_at, m.group) for m in messages]

    def _describe_sources(self) -> Iterable[object]:
        for stream in self._world.event_sources.streams:
            state = vars(stream)
            position = state["_position"]
            waiting = [self._hash(record["dynamodb"]) for record in stream.read(position, 100)]
            yield position, state["_attempts"], state["_is_busy"], state["_limit"], waiting
        for source in (
            *self._world.event_sources.queue_sources.values(),
            self._world.event_sources.batch_worker,
        ):
            yield vars(source)["_invocations"]
        # Those of large batches are the only uploads.
        yield self._world.aws.s3.describe_uploads(BUCKET)

    def _describe_predictions(self) -> Iterable[object]:
        for prediction in self._world.replicate.predictions.values():
            yield prediction.body, prediction.job, prediction.ended, prediction.cancel_at
        for receiver in self._world.applications.receivers.values():
            yield receiver.url, [(taken.message_id, taken.is_answered) for taken in receiver.taken]


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=12).digest())
