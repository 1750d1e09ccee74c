"""An application's webhook address: it keeps every call as it came, for tests to check the signatures."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tools.local import waiting
from tools.local.hook import listening

ARRIVE_SECONDS = 60.0


@dataclass(frozen=True)
class Call:
    """One call: header names in lower case, the body's bytes, and the status it was answered with."""

    headers: dict[str, str]
    body: bytes
    answered: int

    @property
    def prediction(self) -> dict[str, Any]:
        parsed: dict[str, Any] = json.loads(self.body)
        return parsed


@dataclass
class Receiver:
    """`answers` are the statuses of the first calls; after them it is 204."""

    answers: Sequence[int] = ()
    url: str = ""
    calls: list[Call] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def take(self, headers: Mapping[str, str], body: bytes) -> int:
        with self.lock:
            number = len(self.calls)
            status = self.answers[number] if number < len(self.answers) else 204
            self.calls.append(Call(dict(headers), body, status))
        return status

    def wait(self, wanted: Callable[[list[Call]], bool], what: str) -> list[Call]:
        """The calls once they are as wanted."""
        return waiting.until(
            lambda: list(self.calls) if wanted(self.calls) else None, seconds=ARRIVE_SECONDS, what=what
        )


@contextmanager
def receiving(*answers: int, port: int = 0) -> Iterator[Receiver]:
    """Listens on loopback while the block runs, on a free port where none is named."""
    receiver = Receiver(answers)
    with listening(receiver.take, port=port) as origin:
        receiver.url = f"{origin}/hooks/predictions?mine=1"
        yield receiver
