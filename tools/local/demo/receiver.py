"""A small application that takes the proxy's webhooks and believes only those whose signature is good."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError

from tools.local.loopback import receive_webhooks


@dataclass
class WebhookInbox:
    """What arrived: (time, body) of good calls, reasons of refused ones."""

    url: str = ""
    secret: str = field(default="", repr=False)
    accepted: list[tuple[datetime, dict[str, Any]]] = field(default_factory=list)
    rejections: list[str] = field(default_factory=list)

    def find_final_delivery(self, job_id: str) -> tuple[datetime, dict[str, Any]] | None:
        """The call that said how this job ended."""
        ended = {"succeeded", "failed", "canceled"}
        calls = [
            call for call in self.accepted if call[1].get("id") == job_id and call[1].get("status") in ended
        ]
        return calls[0] if calls else None

    def receive(self, headers: Mapping[str, str], body: bytes) -> int:
        """The HTTP status to answer: 204 for a good signature (Standard Webhooks), 401 otherwise."""
        try:
            Webhook(self.secret).verify(body, dict(headers))
        except WebhookVerificationError as error:
            self.rejections.append(str(error))
            return 401
        self.accepted.append((datetime.now(UTC), json.loads(body)))
        return 204


@contextmanager
def open_inbox(secret: str) -> Iterator[WebhookInbox]:
    """An inbox that listens on loopback while the block runs."""
    inbox = WebhookInbox(secret=secret)
    with receive_webhooks(inbox.receive) as origin:
        inbox.url = f"{origin}/webhooks/proxy"
        yield inbox
