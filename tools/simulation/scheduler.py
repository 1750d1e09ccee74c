"""Actors that share one virtual clock: who runs when is decided here and nowhere else.

An actor is a greenlet that runs the code under test. It gives up control only in `sleep` and `wait_for`, so
between two calls of a port nothing else happens. Time passes only when every actor sleeps: an hour of
waiting costs nothing, and the same seed gives the same order.
"""

from __future__ import annotations

import heapq
import random
from typing import TYPE_CHECKING, Any

from greenlet import getcurrent, greenlet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


# Added to the number of an entry that runs after all others of its time.
_LAST = 1 << 60


class ProcessCrash(BaseException):
    """The process of an actor ended. Not an Exception, so that no code under test can catch it."""


class ProcessEndedError(Exception):
    """A process that another one waited for ended without a result."""


class Actor:
    """One concurrent activity: an invocation of a function, a caller, an operator, a call by Replicate.

    `deadline` is when its process is killed, in epoch seconds (infinity: never). `random` depends only on
    the seed and the actor's name, so an actor behaves the same when others are changed. `injected_faults`
    counts what was done to it; `failed_calls` are the calls of AWS that raised an error because of that.
    """

    __slots__ = (
        "children",
        "deadline",
        "decisions",
        "failed_calls",
        "greenlet",
        "has_ended",
        "injected_faults",
        "is_crashed",
        "name",
        "notes",
        "parent",
        "process",
        "random",
    )

    def __init__(self, name: str, seed: int, *, deadline: float, parent: Actor | None) -> None:
        self.name = name
        self.random = random.Random(f"{seed}/{name}")
        self.deadline = deadline
        self.parent = parent
        self.children = 0
        self.decisions = 0
        self.injected_faults = 0
        self.failed_calls: list[Any] = []
        self.has_ended = False
        self.is_crashed = False
        self.notes: dict[str, Any] = {}
        self.greenlet: greenlet
        # The actor whose process this one belongs to: itself, or the one that started it as a worker.
        self.process: Actor = self if parent is None else parent.process

    @property
    def has_failed_call(self) -> bool:
        return bool(self.failed_calls)


class Scheduler:
    """Runs actors and callbacks in the order of virtual time; equal times run in the order of scheduling."""

    def __init__(self, seed: int, *, start: float) -> None:
        self.seed = seed
        self.now = start
        self.current: Actor | None = None
        # Learns which exception has ended an actor that nobody waits for.
        self.on_failure: Callable[[Actor, Exception], None] = _raise
        self._is_stopped = False
        self._until = start
        self._queue: list[tuple[float, int, Actor | None, Callable[[], None] | None]] = []
        self._number = 0
        self._hub: Any = getcurrent()

    @property
    def actor(self) -> Actor:
        """The actor that runs now."""
        if self.current is None:
            raise RuntimeError("no actor is running")
        return self.current

    def call_at(self, when: float, callback: Callable[[], None]) -> None:
        """Call back at that time, outside of any actor."""
        self._push(max(when, self.now), None, callback)

    def spawn(
        self,
        name: str,
        function: Callable[[], None],
        *,
        timeout_seconds: float | None = None,
        delay_seconds: float = 0,
        on_end: Callable[[Actor, BaseException | None], None] | None = None,
    ) -> Actor:
        """Start an actor. `on_end` gets the exception that ended it, if any; it must not block.

        Without it, `on_failure` gets the exception.
        """
        deadline = self.now + delay_seconds + timeout_seconds if timeout_seconds else float("inf")
        actor = Actor(name, self.seed, deadline=deadline, parent=None)
        self._start(actor, function, delay_seconds, on_end)
        return actor

    def sleep(self, seconds: float) -> None:
        """Let the current actor wait. Raises ProcessCrash if its process ends meanwhile."""
        actor = self.current
        if actor is None:
            raise RuntimeError("no actor is running")
        process = actor.process
        when = self.now + seconds
        if when >= process.deadline:
            self._wait_until(actor, process.deadline)
            self.crash(process)
        elif self._queue and self._queue[0][0] <= when:
            self._wait_until(actor, when)
        else:
            self.now = when
        if process.is_crashed:
            raise ProcessCrash(actor.name)

    def yield_to_others(self) -> None:
        """Let everything else run that is due now, and what it makes due now, before the current actor."""
        actor = self.actor
        self._push(self.now, actor, None, runs_last=True)
        self._hub.switch()
        self.current = actor
        self.raise_if_crashed(actor)

    def is_anything_due(self, until: float) -> bool:
        """Return whether another actor or a callback runs by that time."""
        return bool(self._queue) and self._queue[0][0] <= until

    def describe_pending(self) -> list[tuple[float, str]]:
        """Return when each waiting actor and callback runs, and its name, in the order in which they run."""
        return [
            (
                when,
                actor.name
                if actor is not None
                else getattr(callback, "__qualname__", type(callback).__name__),
            )
            for when, _, actor, callback in sorted(self._queue, key=lambda entry: entry[:2])
        ]

    def crash(self, process: Actor) -> None:
        """End a process: each of its actors raises ProcessCrash as soon as it runs again."""
        process.is_crashed = True

    def raise_if_crashed(self, actor: Actor) -> None:
        if actor.process.is_crashed:
            raise ProcessCrash(actor.name)

    def map_in_workers(
        self, function: Callable[[Any], Any], arguments: Iterable[Any], workers: int
    ) -> list[Any]:
        """Call `function` for each argument in worker actors of the current process, like a thread pool."""
        owner = self.actor
        remaining = list(enumerate(arguments))
        remaining.reverse()
        results: dict[int, Any] = {}
        failures: list[BaseException] = []
        count = min(workers, len(remaining))

        def work() -> None:
            while remaining:
                index, argument = remaining.pop()
                results[index] = function(argument)

        running = {"workers": count}

        def on_end(_actor: Actor, error: BaseException | None) -> None:
            running["workers"] -= 1
            if error is not None:
                failures.append(error)
            if not running["workers"]:
                self._push(self.now, owner, None)

        for _ in range(count):
            owner.children += 1
            worker = Actor(f"{owner.name}.{owner.children}", self.seed, deadline=owner.deadline, parent=owner)
            self._start(worker, work, 0, on_end)
        if count:
            self._hub.switch()
            self.current = owner
        self.raise_if_crashed(owner)
        if failures:
            raise failures[0]
        return [results[index] for index in sorted(results)]

    def call_process[T](self, name: str, function: Callable[[], T], *, timeout_seconds: float) -> T:
        """Run a function as a process of its own and wait for its result. Raises what it raises."""
        owner = self.actor
        results: list[T] = []
        failures: list[BaseException] = []

        def on_end(_actor: Actor, error: BaseException | None) -> None:
            if error is not None:
                failures.append(error)
            self._push(self.now, owner, None)

        self.spawn(name, lambda: results.append(function()), timeout_seconds=timeout_seconds, on_end=on_end)
        self._hub.switch()
        self.current = owner
        self.raise_if_crashed(owner)
        if failures:
            if isinstance(failures[0], ProcessCrash):
                raise ProcessEndedError(name)
            raise failures[0]
        return results[0]

    def stop(self) -> None:
        """Let `run` return after the current step."""
        self._is_stopped = True

    def run(self, until: float) -> None:
        """Run everything that is due until that time, or until `stop`."""
        self._hub = getcurrent()
        self._until = until
        queue = self._queue
        while queue and queue[0][0] <= until:
            when, _, actor, callback = heapq.heappop(queue)
            self.now = max(self.now, when)
            if actor is not None:
                self.current = actor
                actor.greenlet.switch()
                self.current = None
            elif callback is not None:
                callback()
            if self._is_stopped:
                return
        self.now = max(self.now, until)

    def discard(self) -> None:
        """Forget everything that is scheduled, and end the actors that wait."""
        waiting = [entry[2] for entry in self._queue if entry[2] is not None]
        self._queue.clear()
        for actor in waiting:
            self.crash(actor.process)
            if not actor.greenlet.dead and actor.greenlet:
                self.current = actor
                actor.greenlet.throw(ProcessCrash)
        self.current = None

    def _start(
        self,
        actor: Actor,
        function: Callable[[], None],
        delay_seconds: float,
        on_end: Callable[[Actor, BaseException | None], None] | None,
    ) -> None:
        def run() -> None:
            failure: BaseException | None = None
            try:
                self.raise_if_crashed(actor)
                function()
            except (Exception, ProcessCrash) as error:  # noqa: BLE001 - whatever ends it is reported
                failure = error
            actor.has_ended = True
            if on_end is not None:
                on_end(actor, failure)
            elif isinstance(failure, Exception):
                self.on_failure(actor, failure)

        actor.greenlet = greenlet(run, parent=self._hub)
        self._push(self.now + delay_seconds, actor, None)

    def _wait_until(self, actor: Actor, when: float) -> None:
        """Wait for that time. If another actor is next, switch to it without a detour through the hub.

        One that has not started yet starts from the hub: it would inherit the recursion depth of this actor.
        """
        queue = self._queue
        following = queue[0][2] if queue else None
        is_direct = following is not None and bool(following.greenlet)
        if not is_direct or queue[0][0] > self._until or self._is_stopped:
            self._push(when, actor, None)
            self._hub.switch()
            self.current = actor
            return
        self._number += 1
        next_when, _, next_actor, _ = heapq.heappushpop(queue, (when, self._number, actor, None))
        self.now = max(self.now, next_when)
        if next_actor is not actor and next_actor is not None:
            self.current = next_actor
            next_actor.greenlet.switch()
            self.current = actor

    def _push(
        self,
        when: float,
        actor: Actor | None,
        callback: Callable[[], None] | None,
        *,
        runs_last: bool = False,
    ) -> None:
        self._number += 1
        number = self._number + _LAST if runs_last else self._number
        heapq.heappush(self._queue, (when, number, actor, callback))


def _raise(actor: Actor, error: Exception) -> None:
    raise RuntimeError(f"{actor.name} has failed") from error
