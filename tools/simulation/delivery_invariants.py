"""What must hold for webhook deliveries: who took what, in which order, and what is written about it."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from replicate_proxy.aws.delivery_records import delivery_from_record
from replicate_proxy.aws.dynamodb import from_item
from replicate_proxy.clock import format_timestamp, parse_timestamp
from replicate_proxy.webhooks.events import matches_event_filter
from replicate_proxy.webhooks.model import (
    PREDICTION_TARGET,
    Delivery,
    DeliveryStatus,
    EventKind,
    FailureReason,
)
from tools.simulation.ground_truth import get_owner
from tools.simulation.observation import observe_writes, read_items
from tools.simulation.resources import Table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tools.simulation.application import Taken
    from tools.simulation.invariants import Invariants, Item, JobKey
    from tools.simulation.scheduler import Actor
    from tools.simulation.world import World


class DeliveryInvariants:
    """Watches receivers and the deliveries table of one world; reports to `invariants`."""

    def __init__(self, world: World, invariants: Invariants) -> None:
        self._world = world
        self._invariants = invariants
        # By receiver, event, prediction and schedule: a redelivery begins another one.
        self._taken: dict[tuple[str, str, str, str], Taken] = {}
        self._sent: dict[tuple[str, str], Mapping[str, object]] = {}
        self._owners: set[JobKey] = set()
        self._highest_sequence: dict[tuple[str, str], int] = {}
        # Not when it was stored: the process may pause before that, and the age of a delivery goes on.
        self._created_at: dict[str, str] = {}
        self._unsent_claims: dict[str, list[Actor]] = defaultdict(list)
        self._claimed_schedules: dict[tuple[Actor, str, str], str] = {}
        self._slots: dict[str, Actor] = {}
        self._failed_posts: Counter[Actor] = Counter()
        self._counted_failures: Counter[Actor] = Counter()
        world.applications.on_taken = self._check_taken
        world.applications.on_post = self._note_post
        world.applications.on_failure = self._note_failure
        observe_writes(world.aws, self._check_write)
        invariants.at_rest.append(self._check_at_rest)
        invariants.memories.append(lambda: sorted(self._highest_sequence.items()))

    # Requests

    def _check_taken(self, taken: Taken) -> None:
        prediction_id, sequence = str(taken.prediction["id"]), taken.sequence
        self._check_recipient(taken, prediction_id)
        schedule = self._claimed_schedules[taken.sender, taken.message_id, taken.url]
        identity = (taken.url, taken.message_id, prediction_id, schedule)
        earlier = self._taken.get(identity)
        if earlier is not None and earlier.is_answered and earlier.must_be_recorded:
            self._report("delivered once after success", f"{taken.message_id} to {taken.url}")
        if earlier is None:
            target = (taken.url, prediction_id)
            highest = self._highest_sequence.get(target, -1)
            if sequence < highest and not taken.is_redelivery:
                self._report(
                    "deliveries are in order", f"{taken.url} {prediction_id}: {sequence} after {highest}"
                )
            if not self._may_precede(taken):
                self._highest_sequence[target] = max(highest, sequence)
        if earlier is None or taken.is_answered:
            self._taken[identity] = taken

    def _check_recipient(self, taken: Taken, prediction_id: str) -> None:
        """An event goes to its owner, and each request for it has the same body."""
        if (get_owner(taken.url), prediction_id) not in self._owners:
            self._report("tenants are isolated", f"{taken.url} got an event of {prediction_id}")
        if self._sent.setdefault((taken.url, taken.message_id), taken.prediction) != taken.prediction:
            self._report("an event stays as it is", f"{taken.message_id} to {taken.url}")

    def _may_precede(self, taken: Taken) -> bool:
        """Return whether earlier events may follow: it waited for them long enough, and no answer came."""
        timeout_seconds = self._world.components.delivery_settings.ordering_timeout_seconds
        created_at = self._created_at.get(taken.message_id)
        if taken.is_answered or created_at is None:
            return False
        return taken.at - parse_timestamp(created_at).timestamp() >= timeout_seconds

    def _note_post(self, message_id: str, sender: Actor) -> None:
        claims = self._unsent_claims.get(message_id, [])
        if sender in claims:
            claims.remove(sender)

    def _note_failure(self, sender: Actor) -> None:
        self._failed_posts[sender] += 1

    # Records

    def _check_write(self, table: str, old: Item | None, new: Item | None) -> None:
        actor = self._world.scheduler.current
        if table == Table.JOBS and old is None and new is not None and new["sk"]["S"] in {"JOB", "BATCH"}:
            _, tenant, job_id = new["pk"]["S"].split("#")
            self._owners.add((tenant, job_id))
        if table != Table.DELIVERIES or actor is None:
            return
        if new is None:
            # Only an erasure removes receivers, also while a request is sent.
            for token in _read_slots(old or {}):
                self._slots.pop(token, None)
            return
        kind = new["sk"]["S"].partition("#")[0]
        if kind == "DELIVERY" and old is None:
            self._created_at.setdefault(new["message_id"]["S"], new["at"]["S"])
        if kind == "DELIVERY" and old is not None:
            if _read_number(new, "total_attempts") > _read_number(old, "total_attempts"):
                self._unsent_claims[new["message_id"]["S"]].append(actor.process)
                delivery = delivery_from_record(from_item(new))
                claim = (actor.process, delivery.message_id, self._find_url(delivery))
                self._claimed_schedules[claim] = _name_schedule(delivery)
        elif kind == "RECEIVER":
            self._check_receiver(old or {}, new, actor.process)

    def _check_receiver(self, old: Item, new: Item, process: Actor) -> None:
        before, after = _read_slots(old), _read_slots(new)
        for token in after.keys() - before.keys():
            self._slots[token] = process
        for token in before.keys() - after.keys():
            self._slots.pop(token, None)
        failures = _read_number(new, "consecutive_failures") - _read_number(old, "consecutive_failures")
        if failures > 0:
            self._counted_failures[process] += failures
            if self._counted_failures[process] > self._failed_posts[process]:
                self._report("a failed request counts once", f"{new['sk']['S']} by {process.name}")

    # At rest

    def _check_at_rest(self) -> None:
        deliveries = [
            delivery_from_record(record)
            for record in read_items(self._world.aws, Table.DELIVERIES)
            if record["sk"].startswith("DELIVERY#")
        ]
        for delivery in deliveries:
            self._check_delivery(delivery)
        self._check_events({(one.tenant, one.job_id, one.target, one.kind) for one in deliveries})
        for message_id, claims in self._unsent_claims.items():
            for process in claims:
                if not process.is_crashed and not process.has_failed_call:
                    self._report("a counted attempt is sent", f"{message_id} by {process.name}")
        for token, process in self._slots.items():
            if not process.is_crashed and not process.has_failed_call:
                self._report("a slot ends with its request", f"{token} of {process.name}")

    def _check_delivery(self, delivery: Delivery) -> None:
        url = self._find_url(delivery)
        if delivery.is_pending:
            self._report("every delivery ends", delivery.id)
        if delivery.status is DeliveryStatus.SUCCEEDED:
            if (url, delivery.message_id, delivery.job_id, _name_schedule(delivery)) not in self._taken:
                self._report("a success was taken", delivery.id)
        elif delivery.failure_reason is FailureReason.ENDPOINT_DISABLED:
            endpoint = self._find_endpoint(delivery)
            if endpoint is not None and endpoint.get("disabled_reason") is None:
                self._report("enabling sends what was missed", delivery.id)

    def _check_events(self, stored: set[tuple[str, str, str, EventKind]]) -> None:
        """Every job that ended has its last event on record, if it has a webhook for that."""
        for job in self._world.truth.read_stored_jobs():
            if job.webhook and job.is_terminal and matches_event_filter(job, EventKind.COMPLETED):
                key = (job.tenant, job.id, PREDICTION_TARGET, EventKind.COMPLETED)
                if key not in stored:
                    self._report("no event is missed", f"completed of {job.tenant} {job.id}")

    def _find_url(self, delivery: Delivery) -> str:
        endpoint = self._find_endpoint(delivery)
        return str(endpoint["url"]) if endpoint is not None else delivery.url or ""

    def _find_endpoint(self, delivery: Delivery) -> Mapping[str, Any] | None:
        if delivery.target == PREDICTION_TARGET:
            return None
        return self._world.truth.find_endpoint(delivery.tenant, delivery.target)

    def _report(self, guarantee: str, detail: str) -> None:
        self._invariants.report(guarantee, detail)


def _name_schedule(delivery: Delivery) -> str:
    """Return what tells redeliveries apart. All first schedules are one, also of a delivery stored twice."""
    return format_timestamp(delivery.schedule_started_at) if delivery.is_redelivery else ""


def _read_number(item: Item, name: str) -> int:
    return int(item.get(name, {}).get("N", 0))


def _read_slots(item: Item) -> Mapping[str, object]:
    slots: Mapping[str, object] = item.get("slots", {}).get("M", {})
    return slots
