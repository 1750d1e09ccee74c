"""A small application that receives the proxy's webhooks and verifies their signatures."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError

from tools.local.loopback import receive_webhooks

_TERMINAL_STATUSES = {"succeeded", "failed", "canceled"}


@dataclass
class WebhookInbox:
    """The received webhooks: (time, body) of those with a valid signature, and why others were rejected."""

    url: str = ""
    secret: str = field(default="", repr=False)
    accepted: list[tuple[datetime, dict[str, Any]]] = field(default_factory=list)
    rejections: list[str] = field(default_factory=list)

    def receive(self, headers: Mapping[str, str], body: bytes) -> int:
        """Return the HTTP status: 204 for a valid signature (Standard Webhooks), 401 otherwise."""
        try:
            Webhook(self.secret).verify(body, dict(headers))
        except WebhookVerificationError as error:
            self.rejections.append(str(error))
            return 401
        self.accepted.append((datetime.now(UTC), json.loads(body)))
        return 204

    def find_final_delivery(self, job_id: str) -> tuple[datetime, dict[str, Any]] | None:
        """Return time and body of the first webhook with a terminal status of the job."""
        for received_at, body in self.accepted:
            if body.get("id") == job_id and body.get("status") in _TERMINAL_STATUSES:
                return received_at, body
        return None


@contextmanager
def open_inbox(secret: str) -> Iterator[WebhookInbox]:
    """Receive webhooks on loopback while the block runs."""
    inbox = WebhookInbox(secret=secret)
    with receive_webhooks(inbox.receive) as origin:
        inbox.url = f"{origin}/webhooks/proxy"
        yield inbox
