"""A proxy in front of the emulated AWS: it counts requests, DynamoDB units, and the time until answers."""

from __future__ import annotations

import json
import math
import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import requests

from tools.bench.dynamodb_units import WriteMeter, read_tables
from tools.local.loopback import SilentHandler, serve_http

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tools.local.stack import Stack

_READ_UNIT_BYTES = 4096
_WRITE_OPERATIONS = frozenset({"PutItem", "UpdateItem", "DeleteItem"})
_HOP_HEADERS = frozenset({"content-length", "transfer-encoding", "connection"})


@dataclass
class RequestCounts:
    """Counts of the requests that passed the proxy.

    `requests` is by "service Operation"; `events` counts the entries put on the event bus, by source. Units
    are those of DynamoDB's pricing page.
    """

    writes: WriteMeter = field(default_factory=lambda: WriteMeter({}))
    requests: Counter[str] = field(default_factory=Counter)
    write_units: int = 0
    read_units: float = 0
    events: Counter[str] = field(default_factory=Counter)
    _waits: list[tuple[float, float]] = field(default_factory=list, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def clear(self) -> None:
        """Set all counts to zero."""
        with self._lock:
            self.requests.clear()
            self.events.clear()
            self.write_units, self.read_units = 0, 0
            self._waits.clear()

    def add_wait(self, started_at: float, ended_at: float) -> None:
        """Add when a request waited for AWS, in seconds of one clock."""
        with self._lock:
            self._waits.append((started_at, ended_at))

    def sum_waits(self) -> float:
        """Return the seconds in which at least one request waited for AWS."""
        seconds, counted_until = 0.0, 0.0
        with self._lock:
            for started_at, ended_at in sorted(self._waits):
                seconds += max(0.0, ended_at - max(started_at, counted_until))
                counted_until = max(counted_until, ended_at)
        return seconds

    def add_request(self, service: str, operation: str, request_body: bytes, response_body: bytes) -> None:
        """Count one request."""
        with self._lock:
            self.requests[f"{service} {operation}"] += 1
            if service == "dynamodb":
                self._add_units(operation, request_body, response_body)
            elif operation == "PutEvents":
                self.events.update(entry["Source"] for entry in json.loads(request_body)["Entries"])

    def _add_units(self, operation: str, request_body: bytes, response_body: bytes) -> None:
        """Add the units of a request. JSON is longer than an item in it: read units are an upper bound."""
        if operation in _WRITE_OPERATIONS:
            self.write_units += self._count_write(operation.removesuffix("Item"), json.loads(request_body))
            return
        if operation == "BatchWriteItem":
            for table, writes in json.loads(request_body)["RequestItems"].items():
                for write in writes:
                    ((kind, request),) = write.items()
                    operation = kind.removesuffix("Request")
                    self.write_units += self._count_write(operation, {"TableName": table, **request})
            return
        if operation == "TransactWriteItems":
            # Each write of a transaction takes twice as many.
            for write in json.loads(request_body)["TransactItems"]:
                ((kind, request),) = write.items()
                self.write_units += 2 * self._count_write(kind, request)
            return
        if operation == "BatchGetItem":
            self.read_units += _count_batch_units(json.loads(request_body), json.loads(response_body))
            return
        is_consistent = bool(json.loads(request_body).get("ConsistentRead"))
        units = max(1, math.ceil(len(response_body) / _READ_UNIT_BYTES))
        self.read_units += units if is_consistent else units / 2

    def _count_write(self, kind: str, request: Mapping[str, Any]) -> int:
        match kind:
            case "Put":
                return self.writes.count_put(request["TableName"], request["Item"])
            case "Delete":
                return self.writes.count_delete(request["TableName"], request["Key"])
            case _:
                # An update, or the check of a condition: the size of the item is not known.
                return 1


def _count_batch_units(request: Mapping[str, Any], response: Mapping[str, Any]) -> float:
    """Return the read units of a BatchGetItem: each item is rounded up, and a missing one counts, too."""
    units = 0.0
    for table, read in request["RequestItems"].items():
        items = response.get("Responses", {}).get(table, ())
        found = sum(math.ceil(len(json.dumps(item)) / _READ_UNIT_BYTES) for item in items)
        table_units = found + len(read["Keys"]) - len(items)
        units += table_units if read.get("ConsistentRead") else table_units / 2
    return units


@contextmanager
def run_counting_proxy(stack: Stack) -> Iterator[tuple[str, RequestCounts]]:
    """Run a loopback server that forwards all requests to the stack's AWS. Yield origin and counts."""
    target_url = stack.endpoint_url
    tables = read_tables(stack.get_client("dynamodb"))
    counts, session = RequestCounts(WriteMeter(tables)), requests.Session()
    session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=64))

    class Handler(SilentHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def _forward(self) -> None:
            request_body = self.rfile.read(int(self.headers.get("content-length", 0)))
            request_headers, started_at = dict(self.headers.items()), time.monotonic()
            response = session.request(
                self.command,
                target_url + self.path,
                headers=request_headers,
                data=request_body,
                timeout=60,
                allow_redirects=False,
            )
            counts.add_wait(started_at, time.monotonic())
            service, operation = _identify_operation(self.command, request_headers)
            counts.add_request(service, operation, request_body, response.content)
            self.send_response(response.status_code)
            for name, value in response.headers.items():
                if name.lower() not in _HOP_HEADERS:
                    self.send_header(name, value)
            self.send_header("content-length", str(len(response.content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(response.content)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _forward  # noqa: N815 - names of the base class

    with serve_http(Handler) as origin:
        yield origin, counts


def _identify_operation(method: str, headers: Mapping[str, str]) -> tuple[str, str]:
    """Return the service, from the scope of the signature (AWS Signature Version 4), and the operation.

    The operation is from X-Amz-Target, or the HTTP method without it.
    """
    headers = {name.lower(): value for name, value in headers.items()}
    scope = headers.get("authorization", "").partition("Credential=")[2].split("/", 4)
    return "".join(scope[3:4]), headers.get("x-amz-target", method).rpartition(".")[2]
