"""Messages in dead-letter queues, and which of them a request means. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

__all__ = ["DeadLetter", "LetterFilter", "subject_of"]


@dataclass(frozen=True)
class DeadLetter:
    """One message as received: `receipt` deletes or releases it, `group` is its tenant for fair queues.

    `target` is the ARN that EventBridge could not deliver to, for messages of the bus.
    """

    id: str
    receipt: str = field(repr=False)
    body: str = field(repr=False)
    sent_at: datetime
    receive_count: int
    group: str | None = None
    target: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class LetterFilter:
    """Empty means all."""

    tenant: str | None = None
    job_id: str | None = None
    message_ids: frozenset[str] = frozenset()

    def takes(self, letter: DeadLetter) -> bool:
        subject = subject_of(letter.body)
        return (
            (self.tenant is None or self.tenant == subject.get("tenant"))
            and (self.job_id is None or self.job_id == subject.get("job_id"))
            and (not self.message_ids or letter.id in self.message_ids)
        )


def subject_of(body: str) -> Mapping[str, Any]:
    """`tenant` and `job_id` of a command or a bus event; empty where the body says neither."""
    try:
        loaded = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    places = [loaded, *(_inside(loaded, *path) for path in (("detail", "data"), ("data",)))]
    found = next((place for place in places if isinstance(place, dict) and "tenant" in place), {})
    return {name: found[name] for name in ("tenant", "job_id") if name in found}


def _inside(value: Any, *path: str) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value
