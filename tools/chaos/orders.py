"""What the application asks for: jobs of several kinds in an order that the seed decides."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Any

from tools.chaos.mix import REFUSED

VERSION = sha256(b"local/lab").hexdigest()
FAILURE = "chaos: the model failed"
TRANSIENT = "Prediction interrupted; please retry (code: PA)"


class Kind(StrEnum):
    """How a job is meant to go."""

    IMAGE = "image"
    TEXT = "text"
    FAILING = "failing"
    TRANSIENT = "transient"
    REFUSED = "refused"
    CANCELED = "canceled"


ENDINGS: Mapping[Kind, frozenset[str]] = {
    Kind.IMAGE: frozenset({"succeeded"}),
    Kind.TEXT: frozenset({"succeeded"}),
    Kind.FAILING: frozenset({"failed"}),
    Kind.TRANSIENT: frozenset({"failed"}),
    Kind.REFUSED: frozenset({"failed"}),
    Kind.CANCELED: frozenset({"canceled"}),
}
"""How it may end: anything else is an outcome lost on the way."""

_SHARES: Mapping[Kind, float] = {
    Kind.IMAGE: 0.36,
    Kind.TEXT: 0.36,
    Kind.FAILING: 0.06,
    Kind.TRANSIENT: 0.06,
    Kind.REFUSED: 0.06,
    Kind.CANCELED: 0.10,
}
# Seconds until a prediction runs and says so: at once, or after the sweep has begun to look for lost ones.
_STARTUPS = (0.1, 8.0)
_INPUTS: Mapping[Kind, Mapping[str, Any]] = {
    Kind.IMAGE: {"output": [{"$file": "png", "width": 64, "height": 64}], "latency": 0.5},
    Kind.TEXT: {"output": "a text", "latency": 0.5},
    Kind.FAILING: {"status": "failed", "error": FAILURE, "latency": 0.5},
    Kind.TRANSIENT: {"status": "failed", "error": TRANSIENT, "latency": 0.5},
    Kind.REFUSED: {"output": REFUSED},
    # Runs until somebody cancels it.
    Kind.CANCELED: {"hold": True},
}


@dataclass(frozen=True)
class Order:
    """One request; `key` is its Idempotency-Key."""

    number: int
    key: str
    kind: Kind
    startup: float
    wants_webhook: bool

    def body(self, webhook: str) -> dict[str, Any]:
        asked: dict[str, Any] = {
            "version": VERSION,
            "input": {**_INPUTS[self.kind], "startup": self.startup, "order": self.key},
        }
        if self.wants_webhook:
            asked |= {"webhook": webhook, "webhook_events_filter": ["completed"]}
        return asked


_IN_TWENTY = 5
"""Of twenty orders that follow each other so many go in one batch, the others by themselves."""


def parcels(placed: Sequence[Order]) -> Sequence[Sequence[Order]]:
    """What is sent in one request each, in the order of the orders."""
    found: list[Sequence[Order]] = []
    for start in range(0, len(placed), 20):
        score = placed[start : start + 20]
        found.append(score[:_IN_TWENTY])
        found += [[order] for order in score[_IN_TWENTY:]]
    return found


def orders(number: int, seed: int) -> Sequence[Order]:
    """The same for the same seed."""
    dice = random.Random(seed)  # noqa: S311 - a reproducible choice, no secret
    kinds = dice.choices(list(_SHARES), weights=list(_SHARES.values()), k=number)
    return [
        Order(index, f"chaos-{seed}-{index}", kind, dice.choice(_STARTUPS), dice.choice((True, False)))
        for index, kind in enumerate(kinds)
    ]
