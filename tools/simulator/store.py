"""The predictions of this process, in memory, in creation order."""

import asyncio
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Any, Literal

from tools.simulator import clock

type Status = Literal["starting", "processing", "succeeded", "failed", "canceled", "aborted"]
type Event = Literal["start", "output", "logs", "completed"]
type AttemptKind = Literal["genuine", "duplicate", "forged"]

TERMINAL: frozenset[Status] = frozenset({"succeeded", "failed", "canceled", "aborted"})
DEFAULT_EVENTS: frozenset[Event] = frozenset({"output", "completed"})


@dataclass(slots=True)
class WebhookAttempt:
    """One POST of one webhook message; times in Unix seconds, `status_code` None until or unless answered."""

    message_id: str
    event: Event
    kind: AttemptKind
    number: int
    sent_at: float
    status: Status
    finished_at: float | None = None
    status_code: int | None = None
    error: str | None = None


@dataclass(slots=True, kw_only=True, eq=False)
class Prediction:
    """One prediction and all that happened to it; instants in nanoseconds since the epoch."""

    id: str
    model: str
    version: str
    input: dict[str, Any]
    created_ns: int
    webhook: str | None = None
    events: frozenset[Event] = DEFAULT_EVENTS
    deployment: str | None = None
    deadline_ns: int | None = None
    streamable: bool = False
    status: Status = "starting"
    output: Any = None
    logs: str = ""
    error: str | None = None
    started_ns: int | None = None
    completed_ns: int | None = None
    metrics: dict[str, Any] | None = None
    data_removed: bool = False
    files: list[str] = field(default_factory=list)
    attempts: list[WebhookAttempt] = field(default_factory=list)
    outputs_ready: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def terminal(self) -> bool:
        """Whether the status can no longer change."""
        return self.status in TERMINAL


@dataclass(frozen=True, slots=True)
class Page:
    """Newest first; positions are where the neighbouring pages begin, None where there is none."""

    results: list[Prediction]
    next: int | None
    previous: int | None


class Store:
    """Append-only, so that a position in it stays valid while new predictions arrive."""

    def __init__(self) -> None:
        self._ordered: list[Prediction] = []
        self._by_id: dict[str, Prediction] = {}

    def __len__(self) -> int:
        return len(self._ordered)

    def add(self, prediction: Prediction) -> None:
        """Keep a new prediction; its creation time is made later than every earlier one's."""
        if self._ordered:
            prediction.created_ns = max(prediction.created_ns, self._ordered[-1].created_ns + 1)
        self._ordered.append(prediction)
        self._by_id[prediction.id] = prediction

    def get(self, prediction_id: str) -> Prediction | None:
        """The prediction of that id."""
        return self._by_id.get(prediction_id)

    def all(self) -> list[Prediction]:
        """Oldest first."""
        return list(self._ordered)

    def page(self, *, start: int | None, since_ns: int | None, until_ns: int | None, size: int) -> Page:
        """Up to `size` predictions created in [since, until), from position `start` towards older ones."""
        low = 0 if since_ns is None else self._position(since_ns)
        high = len(self._ordered) if until_ns is None else self._position(until_ns)
        top = high if start is None else min(start, high)
        bottom = max(low, top - size)
        results = self._ordered[bottom:top][::-1]
        return Page(
            results=results,
            next=bottom if bottom > low else None,
            previous=min(top + size, high) if top < high else None,
        )

    def clear(self) -> None:
        """Forget everything."""
        self._ordered.clear()
        self._by_id.clear()

    def _position(self, instant_ns: int) -> int:
        return bisect_left(self._ordered, instant_ns, key=lambda prediction: prediction.created_ns)


def age(prediction: Prediction, now_ns: int) -> float:
    """Seconds since completion; negative infinity while it still runs."""
    if prediction.completed_ns is None:
        return float("-inf")
    return (now_ns - prediction.completed_ns) / clock.NANOSECONDS
