"""Fakes of what the admin API reads and changes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from replicate_proxy.operations.dead_letters import QueueDepth
from replicate_proxy.webhooks.redelivery import RedeliveryResult, TenantPosition
from tests.support.clock import NOW

if TYPE_CHECKING:
    from datetime import datetime

    from replicate_proxy.operations.dead_letters import DeadLetter
    from replicate_proxy.webhooks.model import Delivery


@dataclass
class FakeQueueClient:
    """A QueueClient in memory; a received message is hidden until it is released."""

    messages: dict[str, list[DeadLetter]] = field(default_factory=dict)
    hidden_ids: set[str] = field(default_factory=set)
    fails_to_send: bool = False
    waits: list[bool] = field(default_factory=list)

    def get_depth(self, url: str) -> QueueDepth:
        messages = self.messages.get(url, [])
        in_flight = len([message for message in messages if message.id in self.hidden_ids])
        return QueueDepth(waiting=len(messages) - in_flight, in_flight=in_flight)

    def receive(
        self, url: str, *, limit: int, visibility_timeout_seconds: int, wait: bool = True
    ) -> list[DeadLetter]:
        assert visibility_timeout_seconds > 29  # a request may take that long
        self.waits.append(wait)
        visible = [message for message in self.messages.get(url, []) if message.id not in self.hidden_ids]
        self.hidden_ids |= {message.id for message in visible[:limit]}
        return visible[:limit]

    def send(self, url: str, message: DeadLetter) -> None:
        if self.fails_to_send:
            raise ConnectionError
        self.messages.setdefault(url, []).append(message)
        self.hidden_ids.discard(message.id)

    def delete(self, url: str, message: DeadLetter) -> None:
        self.messages[url].remove(message)

    def release(self, url: str, messages: list[DeadLetter]) -> None:
        assert all(message in self.messages[url] for message in messages)
        self.hidden_ids -= {message.id for message in messages}


@dataclass
class FakeBreaker:
    """A BreakerControl in memory."""

    state: str = "closed"
    seconds: float | None = None

    def describe(self) -> dict[str, Any]:
        return {"state": self.state, "seconds": self.seconds}

    def trip(self, opened_by: str = "admin", *, seconds: float | None = None) -> None:
        self.state, self.seconds = f"open by {opened_by}", seconds

    def reset(self) -> datetime | None:
        was_open, self.state = self.state != "closed", "closed"
        return NOW if was_open else None


class FakeRedeliveries:
    """Redelivers five failed deliveries on the first page, and knows no delivery by its ID."""

    def redeliver(self, tenant: str, delivery_id: str) -> Delivery:
        raise LookupError(f"{tenant} {delivery_id}")

    def redeliver_all_failed(
        self, tenant: str, since: datetime, *, after: TenantPosition | None = None
    ) -> RedeliveryResult:
        return RedeliveryResult(5, None if after else TenantPosition(f"{tenant}-{since:%Y}"))


@dataclass
class FakeParameter:
    """A SecretParameter in memory."""

    text: str = ""
    writes: int = 0

    def read(self) -> str:
        return self.text

    def write(self, text: str) -> None:
        self.text = text
        self.writes += 1


@dataclass
class FakeWorkerStarter:
    """A WorkerStarter that counts its calls, and fails with `error`."""

    count: int = 0
    error: Exception | None = None

    def start(self) -> None:
        self.count += 1
        if self.error is not None:
            raise self.error
