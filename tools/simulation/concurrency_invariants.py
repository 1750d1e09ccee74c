"""Concurrency limits in a run: they are never exceeded, and no job waits for a slot that is free."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from replicate_proxy.concurrency.model import name_model_limit, name_tenant_limit
from replicate_proxy.contracts.commands import DispatchCommand
from replicate_proxy.jobs.model import TERMINAL_STATUSES, JobStatus
from replicate_proxy.model_entries.entry import ModelEntry
from tools.simulation.limit_history import LimitHistory
from tools.simulation.observation import is_deletion_item, observe_writes
from tools.simulation.resources import Queue, Table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tools.simulation.invariants import Invariants
    from tools.simulation.replicate import Prediction
    from tools.simulation.world import World

LIMITED_TENANT = "acme"
LIMITED_ENTRY = ModelEntry(name="acme/model", max_concurrency=3)
FIRST_TENANT_LIMIT = 3
RAISED_TENANT_LIMIT = 5
OTHER_TENANT_LIMITS = (1, 2, 5, 20, None)
# Caches of the limits are older at most, and so is a claim that was made by them.
_SETTLED_SECONDS = 120.0
_SAMPLE_SECONDS = 60.0
_MAX_SAMPLES = 6

type JobKey = tuple[str, str]


class StaticEntries:
    """The model entries of a run."""

    def find(self, name: str | None) -> ModelEntry | None:
        return LIMITED_ENTRY if name == LIMITED_ENTRY.name else None


class ConcurrencyInvariants:
    """Counts the predictions that run within each limit, by what Replicate got and what the jobs show.

    The operator tells it the limit of the tenant.
    """

    def __init__(self, world: World, invariants: Invariants) -> None:
        self._world = world
        self._invariants = invariants
        self._limits = {
            name: LimitHistory(world.scheduler, _SETTLED_SECONDS)
            for name in (name_model_limit(LIMITED_ENTRY.name), name_tenant_limit(LIMITED_TENANT))
        }
        self._limits[name_model_limit(LIMITED_ENTRY.name)].expect(LIMITED_ENTRY.max_concurrency)
        self._limits[name_model_limit(LIMITED_ENTRY.name)].confirm()
        self._limits_of: dict[JobKey, tuple[str, ...]] = {}
        self._status_of: dict[JobKey, str] = {}
        # Since when jobs have had their slots: some keep them while they wait, or are sent again.
        self._acquired_at: dict[tuple[str, JobKey], float] = {}
        self._running: defaultdict[str, set[JobKey]] = defaultdict(set)
        self._held: dict[JobKey, str] = {}
        self._idle_samples: Counter[JobKey] = Counter()
        observe_writes(world.aws, self._note_slots)
        observe_writes(world.aws, self._check_write)
        self._check_earlier = world.replicate.on_create
        world.replicate.on_create = self._check_create
        # The faults of a scenario are few, and do not stop.
        quiet_from = world.plan.quiet_from if world.plan.quiet_from < math.inf else world.scheduler.now
        world.scheduler.call_at(quiet_from + 2 * _SETTLED_SECONDS, self._sample)
        invariants.memories.append(self._describe_memory)

    def expect_tenant_limit(self, number: int | None) -> None:
        """Learn the limit of the tenant that is about to be set."""
        self._limits[name_tenant_limit(LIMITED_TENANT)].expect(number)

    def confirm_tenant_limit(self) -> None:
        """Learn that the limit is set: from some time after this, it applies to everything."""
        self._limits[name_tenant_limit(LIMITED_TENANT)].confirm()

    def _describe_memory(self) -> tuple[object, ...]:
        running = [(name, sorted(keys)) for name, keys in sorted(self._running.items()) if keys]
        return running, sorted(self._held.items()), sorted(self._idle_samples.items())

    def _note_slots(self, table: str, old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> None:
        if table != Table.CONTROL or new is None or "holders" not in new:
            return
        name = new["pk"]["S"].removeprefix("SLOTS#")
        before, after = ((item or {}).get("holders", {"M": {}})["M"].keys() for item in (old, new))
        for holder in after - before:
            tenant, _, job_id = holder.partition("/")
            self._acquired_at[name, (tenant, job_id)] = self._world.scheduler.now

    def _check_write(self, table: str, _old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> None:
        if table != Table.JOBS or new is None or new["sk"]["S"] != "JOB" or is_deletion_item(new):
            return
        key, status = (new["tenant"]["S"], new["id"]["S"]), new["status"]["S"]
        self._status_of[key] = status
        self._limits_of[key] = tuple(name["S"] for name in new.get("limits", {"L": []})["L"])
        outcomes = [past["M"]["outcome"]["S"] for past in new.get("past_attempts", {"L": []})["L"]]
        is_back = status == JobStatus.QUEUED and "unknown" not in outcomes
        if is_back or status == JobStatus.HARVESTING or status in TERMINAL_STATUSES:
            for running in self._running.values():
                running.discard(key)
        waiting = new.get("waiting", {"M": {}})["M"].get("limit", {}).get("S")
        if status == JobStatus.QUEUED and waiting:
            self._held[key] = waiting
        else:
            self._held.pop(key, None)
            self._idle_samples.pop(key, None)

    def _check_create(self, prediction: Prediction) -> None:
        self._check_earlier(prediction)
        key = prediction.job
        status = self._status_of.get(key)
        if status is None or status == JobStatus.HARVESTING or status in TERMINAL_STATUSES:
            # It lands after its job was given up, or has adopted another: it is a surplus.
            return
        self._require_tenant_limit(key)
        for name in self._limits_of[key]:
            self._running[name].add(key)
            number = self._limits[name].find_greatest(self._acquired_at.get((name, key)))
            if len(self._running[name]) > number:
                detail = f"{name}: {len(self._running[name])} run, of {number}"
                self._invariants.report("limits are not exceeded", detail)

    def _require_tenant_limit(self, key: JobKey) -> None:
        """A job of the tenant that is sent some time after the limit was set has a slot."""
        name = name_tenant_limit(LIMITED_TENANT)
        if key[0] != LIMITED_TENANT or name in self._limits_of[key]:
            return
        if self._limits[name].find_greatest() < math.inf:
            self._invariants.report("limits are not exceeded", f"{key} was sent without a slot")

    def _sample(self) -> None:
        """Look once a minute at the jobs that wait although a slot is free, when faults have stopped."""
        self._world.scheduler.call_at(self._world.scheduler.now + _SAMPLE_SECONDS, self._sample)
        unknown = {key for key, status in self._status_of.items() if status == JobStatus.SUBMIT_UNKNOWN}
        sent = self._list_sent() if self._held else set()
        for key, name in list(self._held.items()):
            # Who waits for a slot of the model has one of its tenant, and so has a job that may be running.
            keepers = {other for other in self._held.keys() | unknown if name in self._limits_of[other]}
            is_free = len(self._running[name] | keepers) < self._limits[name].current
            is_idle = is_free and key not in sent
            self._idle_samples[key] = self._idle_samples[key] + 1 if is_idle else 0
            if self._idle_samples[key] > _MAX_SAMPLES:
                self._invariants.report("no job waits for a free slot", f"{key} waits for {name}")

    def _list_sent(self) -> set[JobKey]:
        """Return the jobs that dispatch gets at the latest when the message is visible again."""
        queues = self._world.aws.sqs.queues
        commands = (
            DispatchCommand.from_json(message.body)
            for name in (Queue.DISPATCH, Queue.BATCH_DISPATCH)
            for message in queues[name].messages()
        )
        return {(command.tenant, command.job_id) for command in commands}
