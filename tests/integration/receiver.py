"""A receiver of webhooks that keeps every request."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tools.local.loopback import receive_webhooks
from tools.local.waiting import wait_for

_REQUEST_TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True)
class ReceivedRequest:
    """A request: headers with names in lower case, the body, and the status that it was answered with."""

    headers: dict[str, str]
    body: bytes
    status: int

    @property
    def prediction(self) -> dict[str, Any]:
        parsed: dict[str, Any] = json.loads(self.body)
        return parsed


@dataclass
class Receiver:
    """Answers the first requests with `statuses` and all others with 204."""

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

    def wait_for(
        self, is_complete: Callable[[list[ReceivedRequest]], bool], description: str
    ) -> list[ReceivedRequest]:
        """Return the requests once they are complete."""
        return wait_for(
            lambda: list(self.requests) if is_complete(self.requests) else None,
            timeout_seconds=_REQUEST_TIMEOUT_SECONDS,
            description=description,
        )


@contextmanager
def run_receiver(*statuses: int, port: int = 0) -> Iterator[Receiver]:
    """Run a receiver on loopback while the block runs. Port 0 means any free port."""
    receiver = Receiver(statuses)
    with receive_webhooks(receiver.handle, port=port) as origin:
        receiver.url = f"{origin}/hooks/predictions?mine=1"
        yield receiver
