"""A fake queue, topic and receiver of webhook delivery."""

from __future__ import annotations

import heapq
import itertools
import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from replicate_proxy.errors import RetryableError
from replicate_proxy.webhooks.commands import DeliverCommand
from replicate_proxy.webhooks.model import AttemptResult, ErrorCode
from replicate_proxy.webhooks.sender import ReceiverResponse, classify_response

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.support.clock import FakeClock

_MAX_DELAY_SECONDS = 900


@dataclass
class FakeTopic:
    """The Topic port."""

    messages: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)

    def publish(self, message: str, *, attributes: Mapping[str, str]) -> None:
        self.messages.append((message, attributes))


class FakeDeliveryQueue:
    """The DeliveryQueue port. A message can be received after its delay; `is_broken` makes sends fail."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self._numbers = itertools.count()
        self._messages: list[tuple[datetime, int, str]] = []
        self.is_broken = False

    def send(self, commands: Sequence[DeliverCommand], *, delay_seconds: float = 0) -> None:
        if self.is_broken:
            raise RetryableError("send deliveries")
        assert delay_seconds <= _MAX_DELAY_SECONDS
        visible_at = self._clock.now() + timedelta(seconds=delay_seconds)
        for command in commands:
            heapq.heappush(self._messages, (visible_at, next(self._numbers), command.to_json()))

    @property
    def next_message_at(self) -> datetime | None:
        return self._messages[0][0] if self._messages else None

    def receive(self) -> DeliverCommand | None:
        """Return the next message whose delay has passed."""
        if self._messages and self._messages[0][0] <= self._clock.now():
            return DeliverCommand.from_json(heapq.heappop(self._messages)[2])
        return None

    def __len__(self) -> int:
        return len(self._messages)


@dataclass(frozen=True)
class ReceivedRequest:
    """One request as the receiver saw it."""

    received_at: datetime
    url: str
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def event(self) -> str:
        return self.headers["x-proxy-event"]


def respond(
    status: int, headers: Mapping[str, str] | None = None, text: str = "", duration_seconds: float = 0.05
) -> ReceiverResponse:
    """Return an HTTP response of the receiver."""
    return classify_response(status, headers or {}, text.encode(), duration_seconds=duration_seconds)


def time_out() -> ReceiverResponse:
    """Return the error of a receiver that sends no response within the timeout."""
    return ReceiverResponse(
        result=AttemptResult.UNAVAILABLE, error_code=ErrorCode.TIMEOUT, duration_seconds=15.0
    )


def refuse_connection() -> ReceiverResponse:
    """Return the error of a host on which no receiver listens."""
    return ReceiverResponse(
        result=AttemptResult.UNAVAILABLE, error_code=ErrorCode.UNREACHABLE, duration_seconds=0.01
    )


@dataclass
class FakeReceiver:
    """The Sender port and the application behind it. `behavior` decides about each request."""

    clock: FakeClock
    behavior: Callable[[ReceivedRequest], ReceiverResponse] = lambda _request: respond(200)
    received: list[ReceivedRequest] = field(default_factory=list)
    accepted: list[ReceivedRequest] = field(default_factory=list)

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> ReceiverResponse:
        request = ReceivedRequest(self.clock.now(), url, headers, body)
        self.received.append(request)
        response = self.behavior(request)
        if response.result is AttemptResult.DELIVERED:
            self.accepted.append(request)
        return response
