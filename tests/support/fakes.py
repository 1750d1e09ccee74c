"""In-memory fakes of the ports; tests/contract checks that they behave like the real adapters."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from replicate_proxy.errors import NotFoundError, RetryableError
from replicate_proxy.jobs.model import Document

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicate_proxy.contracts.commands import DispatchCommand
    from replicate_proxy.contracts.events import Event


@dataclass
class Faults:
    """Errors that the next calls of a method raise: `faults.fail("send", times=2)`."""

    planned: dict[str, list[Exception]] = field(default_factory=dict)

    def fail(self, name: str, times: int = 1, error: Exception | None = None) -> None:
        self.planned.setdefault(name, []).extend([error or RetryableError(f"{name} failed")] * times)

    def raise_planned(self, name: str) -> None:
        if self.planned.get(name):
            raise self.planned[name].pop(0)


class FakeDocumentStore:
    """Documents, inline up to `max_inline_bytes`; also the store of offloaded reports.

    `read_count` counts the reads of objects.
    """

    def __init__(self, max_inline_bytes: int = 4096) -> None:
        self.objects: dict[str, bytes] = {}
        self.max_inline_bytes = max_inline_bytes
        self.read_count = 0
        self.faults = Faults()

    def save(self, tenant: str, job_id: str, name: str, value: Any) -> Document:
        self.faults.raise_planned("save")
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        if len(text.encode("utf-8", "surrogatepass")) <= self.max_inline_bytes:
            return Document(text=text)
        key = self.put(f"records/{tenant}/{job_id}/{name}.json", text.encode())
        return Document(object_key=key, digest=hashlib.sha256(text.encode()).hexdigest()[:32])

    def load(self, document: Document | None) -> Any:
        if document is None:
            return None
        if document.object_key is None:
            return json.loads(document.text or "null")
        return json.loads(self.read(document.object_key))

    def put(self, key: str, body: bytes) -> str:
        self.faults.raise_planned("put")
        self.objects[key] = body
        return key

    def read(self, key: str) -> bytes:
        self.faults.raise_planned("read")
        self.read_count += 1
        if key not in self.objects:
            raise NotFoundError("the document is gone")
        return self.objects[key]


class FakeCommandQueue:
    """The dispatch queue; `sent` has the commands with their delays."""

    def __init__(self) -> None:
        self.sent: list[tuple[DispatchCommand, float]] = []
        self.faults = Faults()

    def send(self, command: DispatchCommand, *, delay_seconds: float = 0) -> None:
        self.faults.raise_planned("send")
        self.sent.append((command, delay_seconds))

    def send_all(self, commands: Sequence[DispatchCommand]) -> None:
        for command in commands:
            self.send(command)

    @property
    def commands(self) -> list[DispatchCommand]:
        return [command for command, _ in self.sent]


class FakeEventBus:
    """The service's event bus."""

    def __init__(self) -> None:
        self.published: list[Event] = []
        self.faults = Faults()

    def publish(self, events: Sequence[Event]) -> None:
        self.faults.raise_planned("publish")
        self.published += events

    def queue_bodies(self) -> list[str]:
        """Return the published events as a rule puts them on a queue."""
        return [build_queue_body(event) for event in self.published]


class FakeHarvestQueue:
    """The harvest queue; `sent` has the events with their delays."""

    def __init__(self) -> None:
        self.sent: list[tuple[Event, float]] = []
        self.faults = Faults()

    def send(self, event: Event, *, tenant: str, delay_seconds: float = 0) -> None:
        self.faults.raise_planned("send")
        self.sent.append((event, delay_seconds))


# All but the characters that a message may have (Amazon SQS API reference, SendMessage).
_REJECTED_BY_SQS = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def build_queue_body(event: Event) -> str:
    """Return the event as a rule of the event bus puts it on a queue."""
    body = json.dumps(
        {
            "detail-type": event.name.value,
            "source": event.source.value,
            "detail": json.loads(event.to_detail()),
        },
        ensure_ascii=False,
    )
    assert not _REJECTED_BY_SQS.search(body)
    return body
