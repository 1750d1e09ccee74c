"""Outgoing webhooks: signed, filtered, throttled, and only the terminal one retried, as at Replicate.

`WebhookSender` decides when each message goes out and applies webhook faults; `HttpTransport` sends one
attempt.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from yarl import URL

from tools.simulator.faults import FaultRule, FaultRules
from tools.simulator.predictions import (
    AttemptKind,
    Prediction,
    Status,
    WebhookAttempt,
    WebhookEvent,
    build_prediction_view,
)
from tools.simulator.randomness import generate_message_id
from tools.simulator.settings import LaunchOptions, Settings
from tools.simulator.stats import Stats

MAX_CONCURRENT_ATTEMPTS = 256  # the wait for a free slot does not count against the webhook timeout
THROTTLE_SECONDS = 0.5  # between two output or two logs webhooks (OpenAPI document, webhook_events_filter)
RETRY_DELAYS_SECONDS = (2.0, 4.0, 8.0, 16.0, 30.0)  # the last attempt comes about a minute after completion
_FORGED_SECRET = "whsec_Zm9yZ2VkLWZvcmdlZC1mb3JnZWQ="  # noqa: S105 - deliberately not the real secret
_SUCCESS_CODES, _REDIRECT_CODES = range(200, 300), range(300, 400)
# Receivers keep idle connections longer than this, so none is closed just as the next webhook is sent.
_KEEPALIVE_SECONDS = 1.0
_FIXED_HEADERS = {"content-type": "application/json", "user-agent": "local-replicate-webhooks/1"}


def sign(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """Return the signature `v1,<base64>` of Standard Webhooks (standardwebhooks.com).

    It is the HMAC-SHA256 of `id.timestamp.body`; the key is the base64 text after `whsec_`, decoded.
    """
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


def build_signature_headers(secret: str, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the three webhook headers of one attempt."""
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign(secret, message_id, timestamp, body),
    }


@dataclass(frozen=True, slots=True)
class WebhookResponse:
    """The receiver's status code, or the reason why there is none."""

    status: int | None
    error: str | None = None


class HttpTransport:
    """Posts webhooks from a connection pool, opened on first use because it belongs to the event loop."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def post(
        self, url: str, body: bytes, headers: dict[str, str], timeout_seconds: float
    ) -> WebhookResponse:
        """Post once without following redirects; the timeout is for the whole exchange.

        Network errors are returned, not raised. The URL is sent byte for byte, because the receiver may have
        signed its query.
        """
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEPALIVE_SECONDS)
            self._session = aiohttp.ClientSession(connector=connector)
        try:
            async with self._session.post(
                URL(url, encoded=True),
                data=body,
                headers=_FIXED_HEADERS | headers,
                timeout=aiohttp.ClientTimeout(total=timeout_seconds),
                allow_redirects=False,
            ) as response:
                await response.read()
                return WebhookResponse(response.status)
        except TimeoutError:
            return WebhookResponse(None, f"no response within {timeout_seconds:g} s")
        except (aiohttp.ClientError, ValueError) as error:
            return WebhookResponse(None, str(error) or type(error).__name__)

    async def close(self) -> None:
        """Close the pooled connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None


@dataclass(frozen=True, slots=True)
class WebhookMessage:
    """One webhook message. Its ID and body are the same in every attempt."""

    id: str
    event: WebhookEvent
    status: Status
    body: bytes
    prediction: Prediction


@dataclass(slots=True)
class _PredictionQueue:
    """The webhooks of one prediction, which are delivered one after the other.

    `last_task` delivers the newest message; `last_sent` has the time of the last output and logs message;
    `reordered` waits for a later message to overtake it.
    """

    last_task: asyncio.Task[None] | None = None
    last_sent: dict[WebhookEvent, float] = field(default_factory=dict)
    reordered: WebhookMessage | None = None


class WebhookSender:
    """Sends the webhooks of all predictions, in background tasks that `stop` ends."""

    def __init__(
        self,
        launch: LaunchOptions,
        get_settings: Callable[[], Settings],
        faults: FaultRules,
        get_stats: Callable[[], Stats],
        transport: HttpTransport,
    ) -> None:
        self._launch = launch
        self._get_settings = get_settings
        self._faults = faults
        self._get_stats = get_stats
        self._transport = transport
        self._attempt_slots = asyncio.Semaphore(MAX_CONCURRENT_ATTEMPTS)
        self._queues: dict[str, _PredictionQueue] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def emit(self, prediction: Prediction, event: WebhookEvent) -> None:
        """Queue the prediction's present state, if its webhook requested the event. Returns immediately."""
        queue = self._queues.setdefault(prediction.id, _PredictionQueue())
        if event == "completed":
            del self._queues[prediction.id]
        is_enabled = self._get_settings().webhooks_enabled
        if not prediction.webhook or event not in prediction.webhook_events or not is_enabled:
            return
        if self._is_throttled(queue, event):
            return
        body = json.dumps(build_prediction_view(prediction, self._launch.public_url)).encode()
        message = WebhookMessage(generate_message_id(), event, prediction.status, body, prediction)
        text = f"{prediction.webhook} {prediction.id} {prediction.model}"
        rule = self._faults.choose("webhook", text=text, event=event)
        if rule and rule.kind == "delay":
            self._start_task(self._deliver_late(message, rule.seconds))
            return
        queue.last_task = self._start_task(self._deliver_in_order(queue, queue.last_task, message, rule))

    async def stop(self) -> None:
        """Cancel every delivery."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._queues.clear()

    def _is_throttled(self, queue: _PredictionQueue, event: WebhookEvent) -> bool:
        if event not in ("output", "logs"):
            return False
        now = time.monotonic()
        if now - queue.last_sent.get(event, float("-inf")) < THROTTLE_SECONDS:
            return True
        queue.last_sent[event] = now
        return False

    async def _deliver_in_order(
        self,
        queue: _PredictionQueue,
        previous_task: asyncio.Task[None] | None,
        message: WebhookMessage,
        rule: FaultRule | None,
    ) -> None:
        if previous_task is not None:
            await asyncio.wait([previous_task])
        if rule and rule.kind == "lose":
            return
        if rule and rule.kind == "reorder":
            queue.reordered = message
            self._start_task(self._deliver_if_not_overtaken(queue, message, rule.seconds))
            return
        if rule and rule.kind == "forge":
            await self._attempt(message, 1, "forged")
        await self._deliver(message, rule)
        reordered, queue.reordered = queue.reordered, None
        if reordered:
            await self._deliver(reordered, None)

    async def _deliver_if_not_overtaken(
        self, queue: _PredictionQueue, message: WebhookMessage, seconds: float
    ) -> None:
        await asyncio.sleep(seconds)
        if queue.reordered is message:
            queue.reordered = None
            await self._deliver(message, None)

    async def _deliver_late(self, message: WebhookMessage, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self._deliver(message, None)

    async def _deliver(self, message: WebhookMessage, rule: FaultRule | None) -> None:
        status_override = rule.status if rule and rule.kind == "bad_status" else None
        status = await self._attempt(message, 1, "genuine", status_override)
        if rule and rule.kind == "duplicate":
            for _ in range(rule.copies - 1):
                await self._attempt(message, 1, "duplicate")
        if message.event == "completed" and _should_retry(status):
            # A task of its own: a message that the terminal one overtook must not wait for the retries.
            self._start_task(self._retry(message))

    async def _retry(self, message: WebhookMessage) -> None:
        for number, delay_seconds in enumerate(RETRY_DELAYS_SECONDS, 2):
            await asyncio.sleep(delay_seconds * self._get_settings().webhook_retry_scale)
            if not _should_retry(await self._attempt(message, number, "genuine")):
                return

    async def _attempt(
        self, message: WebhookMessage, number: int, kind: AttemptKind, status_override: int | None = None
    ) -> int | None:
        """Post the message once, record the attempt, and return the status code, None without a response.

        `status_override` replaces the status code of the response.
        """
        async with self._attempt_slots:
            now = time.time()
            attempt = WebhookAttempt(message.id, message.event, kind, number, now, message.status)
            message.prediction.webhook_attempts.append(attempt)
            account = self._get_settings().find_account(message.prediction.account)
            body, secret = message.body, account.webhook_secret
            if kind == "forged":
                body, secret = _forge_body(message.body), _FORGED_SECRET
            headers = build_signature_headers(secret, message.id, int(now), body)
            self._get_stats().webhooks_sent += 1
            url, timeout_seconds = str(message.prediction.webhook), self._get_settings().webhook_timeout
            response = await self._transport.post(url, body, headers, timeout_seconds)
            attempt.finished_at, attempt.error = time.time(), response.error
            attempt.status_code = response.status if status_override is None else status_override
            if attempt.status_code in _SUCCESS_CODES:
                self._get_stats().webhooks_acknowledged += 1
            return attempt.status_code

    def _start_task(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _should_retry(status: int | None) -> bool:
    """Return whether to retry: after no response, 4xx and 5xx, not after 3xx (Replicate docs, webhooks)."""
    return status not in _SUCCESS_CODES and status not in _REDIRECT_CODES


def _forge_body(body: bytes) -> bytes:
    """Return the body as an attacker would send it: succeeded, with an output of their own."""
    view = json.loads(body)
    view |= {"status": "succeeded", "output": ["https://attacker.example/forged.png"], "error": None}
    return json.dumps(view).encode()
