"""An application's webhook address: it keeps every call as it came, for tests to check the signatures."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tools.local import waiting
from tools.local.loopback import receive_webhooks

ARRIVE_SECONDS = 60.0


@dataclass(frozen=True)
class ReceivedRequest:
    """One call: header names in lower case, the body's bytes, and the status it was answered with."""

    headers: dict[str, str]
    body: bytes
    status: int

    @property
    def prediction(self) -> dict[str, Any]:
        parsed: dict[str, Any] = json.loads(self.body)
        return parsed


@dataclass
class Receiver:
    """`answers` are the statuses of the first calls; after them it is 204."""

    statuses: Sequence[int] = ()
    url: str = ""
    requests: list[ReceivedRequest] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def handle(self, headers: Mapping[str, str], body: bytes) -> int:
        with self.lock:
            number = len(self.requests)
            status = self.statuses[number] if number < len(self.statuses) else 204
            self.requests.append(ReceivedRequest(dict(headers), body, status))
        return status

    def wait_for(self, wanted: Callable[[list[ReceivedRequest]], bool], what: str) -> list[ReceivedRequest]:
        """The calls once they are as wanted."""
        return waiting.wait_for(
            lambda: list(self.requests) if wanted(self.requests) else None,
            timeout_seconds=ARRIVE_SECONDS,
            description=what,
        )


@contextmanager
def run_receiver(*answers: int, port: int = 0) -> Iterator[Receiver]:
    """Listens on loopback while the block runs, on a free port where none is named."""
    receiver = Receiver(answers)
    with receive_webhooks(receiver.handle, port=port) as origin:
        receiver.url = f"{origin}/hooks/predictions?mine=1"
        yield receiver
