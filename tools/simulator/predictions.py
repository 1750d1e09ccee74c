"""Predictions: their record, the in-memory store, and their JSON as Replicate's API shows it."""

import asyncio
from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, Literal

from tools.simulator.settings import DEFAULT_ACCOUNT
from tools.simulator.streams import EventStream
from tools.simulator.timestamps import format_timestamp, to_seconds

type Status = Literal["starting", "processing", "succeeded", "failed", "canceled", "aborted"]
type WebhookEvent = Literal["start", "output", "logs", "completed"]
type AttemptKind = Literal["genuine", "duplicate", "forged"]

TERMINAL_STATUSES: frozenset[Status] = frozenset({"succeeded", "failed", "canceled", "aborted"})
DEFAULT_WEBHOOK_EVENTS: frozenset[WebhookEvent] = frozenset({"output", "completed"})


@dataclass(slots=True)
class WebhookAttempt:
    """One POST of one webhook message.

    Times are in Unix seconds. `status_code` stays None until a response arrives.
    """

    message_id: str
    event: WebhookEvent
    kind: AttemptKind
    number: int
    sent_at: float
    status: Status
    finished_at: float | None = None
    status_code: int | None = None
    error: str | None = None


@dataclass(slots=True, kw_only=True, eq=False)
class Prediction:
    """One prediction with its history. Instants are nanoseconds since the Unix epoch."""

    id: str
    account: str = DEFAULT_ACCOUNT
    model: str
    version: str
    input: dict[str, Any]
    created_ns: int
    webhook: str | None = None
    webhook_events: frozenset[WebhookEvent] = DEFAULT_WEBHOOK_EVENTS
    deployment: str | None = None
    deadline_ns: int | None = None
    stream: EventStream | None = None
    status: Status = "starting"
    output: Any = None
    logs: str = ""
    error: str | None = None
    started_ns: int | None = None
    completed_ns: int | None = None
    metrics: dict[str, Any] | None = None
    data_removed: bool = False
    file_paths: list[str] = field(default_factory=list)
    webhook_attempts: list[WebhookAttempt] = field(default_factory=list)
    outputs_ready: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_terminal(self) -> bool:
        """Whether the status can no longer change."""
        return self.status in TERMINAL_STATUSES

    def seconds_since_completion(self, now_ns: int) -> float:
        """Return the time since completion; negative infinity before it."""
        if self.completed_ns is None:
            return float("-inf")
        return to_seconds(now_ns - self.completed_ns)


@dataclass(frozen=True, slots=True)
class PredictionPage:
    """Predictions, newest first, and the positions at which the neighboring pages start (None: no page)."""

    results: list[Prediction]
    next: int | None
    previous: int | None


class PredictionStore:
    """All predictions in creation order. Append-only, so that positions stay valid as predictions arrive."""

    def __init__(self) -> None:
        self._ordered: list[Prediction] = []
        self._by_account: defaultdict[str, list[Prediction]] = defaultdict(list)
        self._by_id: dict[str, Prediction] = {}
        self._by_stream: dict[str, Prediction] = {}

    def add(self, prediction: Prediction) -> None:
        """Store a new prediction. Its creation time becomes later than that of every earlier one."""
        if self._ordered:
            prediction.created_ns = max(prediction.created_ns, self._ordered[-1].created_ns + 1)
        self._ordered.append(prediction)
        self._by_account[prediction.account].append(prediction)
        self._by_id[prediction.id] = prediction
        if prediction.stream is not None:
            self._by_stream[prediction.stream.path] = prediction

    def get(self, prediction_id: str) -> Prediction | None:
        """Return the prediction with that ID."""
        return self._by_id.get(prediction_id)

    def find_stream(self, path: str) -> Prediction | None:
        """Return the prediction whose stream has that path."""
        return self._by_stream.get(path)

    def list_all(self) -> list[Prediction]:
        """Return every prediction, oldest first."""
        return list(self._ordered)

    def read_page(
        self, account: str, *, start: int | None, since_ns: int | None, until_ns: int | None, size: int
    ) -> PredictionPage:
        """Return up to `size` predictions of an account that were created in [since, until).

        They are listed from position `start` to older ones.
        """
        ordered = self._by_account[account]
        low = 0 if since_ns is None else _find_position(ordered, since_ns)
        high = len(ordered) if until_ns is None else _find_position(ordered, until_ns)
        top = high if start is None else min(start, high)
        bottom = max(low, top - size)
        return PredictionPage(
            results=ordered[bottom:top][::-1],
            next=bottom if bottom > low else None,
            previous=min(top + size, high) if top < high else None,
        )

    def clear(self) -> None:
        """Remove every prediction."""
        self._ordered.clear()
        self._by_account.clear()
        self._by_id.clear()
        self._by_stream.clear()


def _find_position(ordered: list[Prediction], instant_ns: int) -> int:
    return bisect_left(ordered, instant_ns, key=lambda prediction: prediction.created_ns)


def build_prediction_view(prediction: Prediction, public_url: str) -> dict[str, Any]:
    """Return the JSON of GET responses and webhooks (OpenAPI document, schemas_prediction_response).

    Optional keys are absent when unset.
    """
    view: dict[str, Any] = {
        "id": prediction.id,
        "model": prediction.model,
        "version": prediction.version,
        "input": prediction.input,
        "logs": prediction.logs,
        "output": prediction.output,
        "data_removed": prediction.data_removed,
        "error": prediction.error,
        "source": "api",
        "status": prediction.status,
        "created_at": format_timestamp(prediction.created_ns),
    }
    for key, instant in (
        ("started_at", prediction.started_ns),
        ("completed_at", prediction.completed_ns),
        ("deadline", prediction.deadline_ns),
    ):
        if instant is not None:
            view[key] = format_timestamp(instant)
    if prediction.deployment:
        view["deployment"] = prediction.deployment
    if prediction.metrics is not None:
        view["metrics"] = prediction.metrics
    view["urls"] = _build_urls(prediction, public_url)
    return view


def build_created_view(prediction: Prediction, public_url: str) -> dict[str, Any]:
    """Return the JSON of a create response: as GET, with the requested webhook."""
    view = build_prediction_view(prediction, public_url)
    if prediction.webhook:
        view["webhook"] = prediction.webhook
        view["webhook_events_filter"] = sorted(prediction.webhook_events)
    return view


def _build_urls(prediction: Prediction, public_url: str) -> dict[str, str]:
    get = f"{public_url}/v1/predictions/{prediction.id}"
    urls = {"cancel": f"{get}/cancel", "get": get, "web": f"https://replicate.com/p/{prediction.id}"}
    if prediction.stream is not None:
        urls["stream"] = public_url + prediction.stream.path
    return urls
