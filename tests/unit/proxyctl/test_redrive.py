"""Redriving with repeated requests, against a fake client."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from proxyctl.client import UnavailableError
from proxyctl.redrive import Redriver


@dataclass
class FakeClient:
    """Redrives at most ten messages per request; the first `failures` requests fail."""

    message_counts: dict[str, int]
    failures: int = 0
    requests: list[dict[str, Any]] = field(default_factory=list)

    def list_queues(self) -> list[dict[str, Any]]:
        self._maybe_fail()
        return [
            {"name": name, "dead_letters": {"waiting": count, "in_flight": 0, "delayed": 0}}
            for name, count in self.message_counts.items()
        ]

    def call(self, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        self._maybe_fail()
        queue = path.removeprefix("/admin/queues/").removesuffix("/redrive")
        self.requests.append({"queue": queue, **body})
        handled = min(10, self.message_counts[queue])
        self.message_counts[queue] -= handled
        return {"handled": handled, "skipped": 0, "done": not self.message_counts[queue]}

    def _maybe_fail(self) -> None:
        if self.failures:
            self.failures -= 1
            raise UnavailableError("503: busy")


def make_redriver(client: FakeClient) -> Redriver:
    return Redriver(client, sleep=lambda _: None)  # type: ignore[arg-type] # has the methods that Redriver calls


def test_redrive_queue_repeats_requests_until_done() -> None:
    client = FakeClient({"dispatch": 25})
    assert make_redriver(client).redrive_queue("dispatch", rate_per_second=5) == 25
    assert client.message_counts == {"dispatch": 0}


def test_redrive_queue_ends_when_nothing_is_handled() -> None:
    class StuckClient(FakeClient):
        def call(self, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
            return {"handled": 0, "skipped": 3, "done": False}

    assert make_redriver(StuckClient({"bus": 3})).redrive_queue("bus", rate_per_second=5) == 0


def test_redrive_all_redrives_queues_that_have_messages() -> None:
    client = FakeClient({"dispatch": 3, "track": 0, "bus": 12})
    assert make_redriver(client).redrive_all(rate_per_second=5) == {"dispatch": 3, "track": 0, "bus": 12}
    assert {request["queue"] for request in client.requests} == {"dispatch", "bus"}


def test_retryable_error_is_retried_four_times() -> None:
    assert make_redriver(FakeClient({"dispatch": 2}, failures=4)).count_messages() == {"dispatch": 2}
    with pytest.raises(UnavailableError, match="busy"):
        make_redriver(FakeClient({"dispatch": 2}, failures=5)).count_messages()


def test_request_contains_filter_and_rate() -> None:
    client = FakeClient({"bus": 1})
    make_redriver(client).redrive_queue("bus", rate_per_second=3, tenant="acme", message_ids=["m1"])
    assert client.requests == [
        {"queue": "bus", "rate_per_second": 3, "tenant": "acme", "message_ids": ["m1"]}
    ]
