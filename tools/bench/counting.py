"""A way to the emulated AWS that counts what passes: requests by service and operation, units of DynamoDB."""

from __future__ import annotations

import json
import math
import threading
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import requests

from tools.local.loopback import SilentHandler, serve_http

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


_WRITE_UNIT_BYTES = 1024
_READ_UNIT_BYTES = 4096
_WRITES = frozenset({"PutItem", "UpdateItem", "DeleteItem"})


@dataclass
class Counts:
    """What has passed. `requests` by "service Operation"; units as DynamoDB's pricing page has them."""

    requests: Counter[str] = field(default_factory=Counter)
    write_units: int = 0
    read_units: float = 0
    events: Counter[str] = field(default_factory=Counter)
    """Entries put on the bus, by source."""
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def clear(self) -> None:
        with self._lock:
            self.requests.clear()
            self.events.clear()
            self.write_units, self.read_units = 0, 0

    def add(self, service: str, operation: str, asked: bytes, answered: bytes) -> None:
        with self._lock:
            self.requests[f"{service} {operation}"] += 1
            if service == "dynamodb":
                self._add_units(operation, asked, answered)
            elif operation == "PutEvents":
                self.events.update(entry["Source"] for entry in json.loads(asked)["Entries"])

    def _add_units(self, operation: str, asked: bytes, answered: bytes) -> None:
        """JSON is longer than the item it carries, so this counts rather too much than too little."""
        if operation in _WRITES:
            item = json.loads(asked).get("Item", {})
            self.write_units += max(1, math.ceil(len(json.dumps(item)) / _WRITE_UNIT_BYTES))
            self.write_units += _index_units(item)
            return
        consistent = bool(json.loads(asked).get("ConsistentRead"))
        units = max(1, math.ceil(len(answered) / _READ_UNIT_BYTES))
        self.read_units += units if consistent else units / 2


def _index_units(item: Mapping[str, object]) -> int:
    """A job's first write enters both indexes; a later one moves its place in the due index (out and in) or
    leaves that for good. Both hold keys only, so each is one unit.
    """
    if "next_check_at" not in item and "due_at" not in item:
        return 1 if "tenant" in item and "timeline" in item else 0
    return 2


@contextmanager
def counting(target: str) -> Iterator[tuple[str, Counts]]:
    """The origin of a loopback server that passes everything on to `target`, and its counts."""
    counts, session = Counts(), requests.Session()
    session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=64))

    class Handler(SilentHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def _pass(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            answer = session.request(
                self.command,
                target + self.path,
                headers=dict(self.headers.items()),
                data=body,
                timeout=60,
                allow_redirects=False,
            )
            service, operation = _named(self.command, dict(self.headers.items()))
            counts.add(service, operation, body, answer.content)
            self.send_response(answer.status_code)
            for name, value in answer.headers.items():
                if name.lower() not in {"content-length", "transfer-encoding", "connection"}:
                    self.send_header(name, value)
            self.send_header("content-length", str(len(answer.content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.content)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass  # noqa: N815 - names of the base class

    with serve_http(Handler) as origin:
        yield origin, counts


def _named(method: str, headers: Mapping[str, str]) -> tuple[str, str]:
    """Service by the signature's scope (AWS Signature Version 4), operation by X-Amz-Target or the method."""
    headers = {name.lower(): value for name, value in headers.items()}
    scope = headers.get("authorization", "").partition("Credential=")[2].split("/", 4)
    return "".join(scope[3:4]), headers.get("x-amz-target", method).rpartition(".")[2]
