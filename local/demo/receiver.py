"""A small application that takes the proxy's webhooks and believes only those whose signature is good."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError

from local.ports import LOOPBACK


@dataclass
class Inbox:
    """What arrived: (time, body) of good calls, reasons of refused ones."""

    url: str = ""
    secret: str = field(default="", repr=False)
    good: list[tuple[datetime, dict[str, Any]]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def final(self, job_id: str) -> tuple[datetime, dict[str, Any]] | None:
        """The call that said how this job ended."""
        ended = {"succeeded", "failed", "canceled"}
        calls = [call for call in self.good if call[1].get("id") == job_id and call[1].get("status") in ended]
        return calls[0] if calls else None

    def take(self, body: bytes, headers: dict[str, str]) -> int:
        """The HTTP status to answer: 204 for a good signature (Standard Webhooks), 401 otherwise."""
        try:
            Webhook(self.secret).verify(body, headers)
        except WebhookVerificationError as error:
            self.refused.append(str(error))
            return 401
        self.good.append((datetime.now(UTC), json.loads(body)))
        return 204


@contextmanager
def receiving(secret: str) -> Iterator[Inbox]:
    """An inbox that listens on loopback while the block runs."""
    inbox = Inbox(secret=secret)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(inbox.take(body, {key.lower(): value for key, value in self.headers.items()}))
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Quiet: the demo shows what arrived."""

    server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
    inbox.url = f"http://{LOOPBACK}:{server.server_port}/webhooks/proxy"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield inbox
    finally:
        server.shutdown()
        server.server_close()
