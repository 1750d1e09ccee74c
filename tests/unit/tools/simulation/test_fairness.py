"""Fair queues keep one tenant's jobs short behind hundreds of another, at every step and without limits."""

from __future__ import annotations

from functools import cache

import pytest

from tools.simulation.aws import Message
from tools.simulation.aws.queue import Queue as SqsQueue
from tools.simulation.aws.queue import QueueSettings, choose_fairly
from tools.simulation.fairness import NOISY, QUIET, Fairness, measure_fairness
from tools.simulation.resources import Queue

# The longest wait behind 500 jobs in fair queues, and the wait behind 200 in others, in seconds. Ten reports,
# of a third of a second and more, are one batch of track.
WAITS = {
    Queue.DISPATCH: (1.0, 2.0),
    Queue.TRACK: (6.0, 8.0),
    Queue.HARVEST: (2.0, 10.0),
    Queue.NOTIFY: (2.0, 10.0),
}


@cache
def measure(*, jobs: int, is_fair: bool) -> Fairness:
    return measure_fairness(jobs=jobs, is_fair=is_fair)


@pytest.mark.parametrize("queue", WAITS)
def test_quiet_tenant_waits_shortly_for_every_step_behind_500_jobs(queue: Queue) -> None:
    waits = measure(jobs=500, is_fair=True).waits[queue]

    assert waits[QUIET] < WAITS[queue][0]


@pytest.mark.parametrize("queue", WAITS)
def test_quiet_tenant_waits_for_the_others_without_fair_queues(queue: Queue) -> None:
    waits = measure(jobs=200, is_fair=False).waits[queue]

    assert waits[QUIET] > WAITS[queue][1]


@pytest.mark.parametrize("queue", WAITS)
def test_every_message_names_its_tenant(queue: Queue) -> None:
    groups = measure(jobs=500, is_fair=True).groups[queue]

    assert {(group or "").partition("/")[0] for group in groups} == {NOISY, QUIET}


class Sent:
    """A queue whose messages are received by hand; times are in seconds."""

    def __init__(self) -> None:
        self.queue = SqsQueue(QueueSettings("q", visibility_seconds=600))
        self.now = 0.0
        self._count = 0

    def send(self, *groups: str | None) -> None:
        for group in groups:
            self._count += 1
            message = Message(number=self._count, id=str(self._count), body="", sent_at=self.now, group=group)
            self.queue.add(message, self.now, self.now)

    def receive(self) -> Message:
        self.queue.advance(self.now)
        message = choose_fairly(self.queue, self.now)
        self.queue.receive(message, f"receipt-{message.number}", self.now, 600)
        return message

    def handle(self, seconds: float) -> str | None:
        message = self.receive()
        self.now += seconds
        self.queue.remove(message, self.now)
        return message.group


def test_group_with_a_tenth_of_the_processing_time_comes_after_quiet_ones() -> None:
    sent = Sent()
    sent.send(*["noisy"] * 20)
    assert sent.handle(10) == "noisy"
    sent.send("quiet", None)

    assert [sent.handle(0.1) for _ in range(3)] == ["quiet", None, "noisy"]


def test_group_with_30_messages_in_flight_is_noisy_before_any_time_has_passed() -> None:
    sent = Sent()
    sent.send(*["noisy"] * 40)
    for _ in range(29):
        sent.receive()
    sent.send("quiet")
    # What it has in flight is not much yet, and its messages are older.
    assert sent.receive().group == "noisy"
    assert sent.receive().group == "quiet"


def test_noisy_group_with_fewest_messages_in_flight_comes_first() -> None:
    sent = Sent()
    sent.send("a", "a", "a", "b", "b")
    assert [sent.receive().group for _ in range(2)] == ["a", "a"]
    sent.now += 5
    assert sent.receive().group == "b"
    sent.now += 5
    assert sent.receive().group == "b"


def test_group_is_quiet_again_after_five_minutes() -> None:
    sent = Sent()
    sent.send("noisy")
    sent.handle(60)
    sent.now += 301
    sent.send("noisy", "quiet")

    assert [sent.handle(0.1) for _ in range(2)] == ["noisy", "quiet"]
