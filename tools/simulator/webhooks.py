"""Sends signed webhooks as Replicate does: filtered, throttled, and only the terminal one retried."""

import asyncio
import json
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from tools.simulator import ids, signature
from tools.simulator.faults.book import FaultBook
from tools.simulator.faults.rules import FaultRule
from tools.simulator.settings import Knobs, Launch
from tools.simulator.stats import Stats
from tools.simulator.store import AttemptKind, Event, Prediction, Status, WebhookAttempt
from tools.simulator.transport import Transport
from tools.simulator.view import render

CONCURRENCY = 256  # exchanges under way at once; the wait for a place does not count against the timeout
THROTTLE = 0.5  # seconds between two output or two logs webhooks (OpenAPI document, webhook_events_filter)
RETRY_DELAYS = (2.0, 4.0, 8.0, 16.0, 30.0)  # the last try comes about a minute after completion
_FORGED_SECRET = "whsec_Zm9yZ2VkLWZvcmdlZC1mb3JnZWQ="  # noqa: S105 - wrong on purpose
_ACKNOWLEDGED, _REDIRECTED = range(200, 300), range(300, 400)


@dataclass(frozen=True, slots=True)
class Message:
    """One webhook message; its id and body stay the same on every attempt."""

    id: str
    event: Event
    status: Status
    body: bytes
    prediction: Prediction


@dataclass(slots=True)
class _Lane:
    """A prediction's webhooks: the tail they queue behind, and when throttled events were last sent."""

    tail: asyncio.Task[None] | None = None
    last_sent: dict[Event, float] = field(default_factory=dict)
    held_back: Message | None = None


class Webhooks:
    """One per simulator. `emit` returns at once; delivery happens in tasks that `close` ends."""

    def __init__(
        self,
        launch: Launch,
        knobs: Callable[[], Knobs],
        faults: FaultBook,
        stats: Callable[[], Stats],
        transport: Transport,
    ) -> None:
        self._launch = launch
        self._knobs = knobs
        self._faults = faults
        self._stats = stats
        self._transport = transport
        self._places = asyncio.Semaphore(CONCURRENCY)
        self._lanes: dict[str, _Lane] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def emit(self, prediction: Prediction, event: Event) -> None:
        """Send the prediction as it is now, if its webhook asked for that event."""
        lane = self._lanes.setdefault(prediction.id, _Lane())
        if event == "completed":
            del self._lanes[prediction.id]
        if not prediction.webhook or event not in prediction.events or not self._knobs().webhooks:
            return
        if self._throttled(lane, event):
            return
        body = json.dumps(render(prediction, self._launch.url)).encode()
        message = Message(ids.message_id(), event, prediction.status, body, prediction)
        text = f"{prediction.webhook} {prediction.id} {prediction.model}"
        rule = self._faults.draw("webhook", text=text, event=event)
        if rule and rule.kind == "delay":
            self._spawn(self._late(message, rule.seconds))
            return
        lane.tail = self._spawn(self._in_turn(lane, lane.tail, message, rule))

    async def close(self) -> None:
        """Stop every delivery."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._lanes.clear()

    def _throttled(self, lane: _Lane, event: Event) -> bool:
        if event not in ("output", "logs"):
            return False
        now = time.monotonic()
        if now - lane.last_sent.get(event, float("-inf")) < THROTTLE:
            return True
        lane.last_sent[event] = now
        return False

    async def _in_turn(
        self, lane: _Lane, before: asyncio.Task[None] | None, message: Message, rule: FaultRule | None
    ) -> None:
        if before is not None:
            await asyncio.wait([before])
        if rule and rule.kind == "lose":
            return
        if rule and rule.kind == "reorder":
            lane.held_back = message
            self._spawn(self._overdue(lane, message, rule.seconds))
            return
        if rule and rule.kind == "forge":
            await self._attempt(message, 1, "forged")
        await self._deliver(message, rule)
        held, lane.held_back = lane.held_back, None
        if held:
            await self._deliver(held, None)

    async def _overdue(self, lane: _Lane, message: Message, seconds: float) -> None:
        """Deliver a held back message after all when no later one came to overtake it."""
        await asyncio.sleep(seconds)
        if lane.held_back is message:
            lane.held_back = None
            await self._deliver(message, None)

    async def _late(self, message: Message, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self._deliver(message, None)

    async def _deliver(self, message: Message, rule: FaultRule | None) -> None:
        overriding = rule.status if rule and rule.kind == "bad_status" else None
        answer = await self._attempt(message, 1, "genuine", overriding)
        if rule and rule.kind == "duplicate":
            for _ in range(rule.copies - 1):
                await self._attempt(message, 1, "duplicate")
        if message.event == "completed" and _worth_retrying(answer):
            # Not in the lane: nothing is queued behind the terminal message but what it overtook.
            self._spawn(self._retry(message))

    async def _retry(self, message: Message) -> None:
        for number, delay in enumerate(RETRY_DELAYS, 2):
            await asyncio.sleep(delay * self._knobs().webhook_retry_scale)
            if not _worth_retrying(await self._attempt(message, number, "genuine")):
                return

    async def _attempt(
        self, message: Message, number: int, kind: AttemptKind, overriding: int | None = None
    ) -> int | None:
        """POST once; the status code, None if nobody answered. `overriding` replaces the answer's."""
        async with self._places:
            return await self._exchange(message, number, kind, overriding)

    async def _exchange(
        self, message: Message, number: int, kind: AttemptKind, overriding: int | None
    ) -> int | None:
        now = time.time()
        attempt = WebhookAttempt(message.id, message.event, kind, number, now, message.status)
        message.prediction.attempts.append(attempt)
        body, secret = message.body, self._knobs().webhook_secret
        if kind == "forged":
            body, secret = _forged(message.body), _FORGED_SECRET
        headers = signature.headers(secret, message.id, int(now), body)
        self._stats().webhooks_sent += 1
        url, within = str(message.prediction.webhook), self._knobs().webhook_timeout
        reply = await self._transport.post(url, body, headers, within)
        attempt.finished_at, attempt.error = time.time(), reply.error
        attempt.status_code = reply.status if overriding is None else overriding
        if attempt.status_code in _ACKNOWLEDGED:
            self._stats().webhooks_acknowledged += 1
        return attempt.status_code

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _worth_retrying(status: int | None) -> bool:
    """Connect failures, 4xx and 5xx are retried; a redirect is silently lost (Replicate docs, webhooks)."""
    return status not in _ACKNOWLEDGED and status not in _REDIRECTED


def _forged(body: bytes) -> bytes:
    """What an attacker would send: the job done, with a picture of his own."""
    shown = json.loads(body)
    shown |= {"status": "succeeded", "output": ["https://attacker.example/forged.png"], "error": None}
    return json.dumps(shown).encode()
