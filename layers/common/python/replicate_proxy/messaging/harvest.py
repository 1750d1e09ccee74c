"""The harvest queue for further rounds: messages in the very form in which the bus's rule delivers them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from replicate_proxy.clock import iso
from replicate_proxy.messaging.queue import send

if TYPE_CHECKING:
    from replicate_proxy.contracts.events import Event

__all__ = ["SqsHarvestMessages"]


class SqsHarvestMessages:
    """The HarvestMessages port."""

    def __init__(self, sqs: Any, queue_url: str) -> None:
        self._sqs = sqs
        self._queue_url = queue_url

    def send(self, event: Event, *, tenant: str, delay_seconds: float = 0) -> None:
        entry = {
            "version": "0",
            "id": event.event_id,
            "detail-type": event.name.value,
            "source": event.source.value,
            "time": iso(event.created_at),
            "detail": json.loads(event.detail()),
        }
        send(self._sqs, self._queue_url, json.dumps(entry), group=tenant, delay_seconds=delay_seconds)
