"""Redriving with repeated requests, against a fake client."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from proxyctl.client import UnavailableError
from proxyctl.redrive import Redriver, RedriveResult


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
    result = make_redriver(client).redrive_queue("dispatch", rate_per_second=5)
    assert (result.handled, result.is_complete) == (25, True)
    assert client.message_counts == {"dispatch": 0}


@dataclass
class ScriptedClient(FakeClient):
    """Answers with the numbers of handled and skipped messages, and then repeats the last ones."""

    answers: list[tuple[int, int, bool]] = field(default_factory=list)

    def call(self, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        self.requests.append(body)
        handled, skipped, done = self.answers[min(len(self.requests), len(self.answers)) - 1]
        return {"handled": handled, "skipped": skipped, "done": done}


def make_scripted_client(*answers: tuple[int, int, bool]) -> ScriptedClient:
    return ScriptedClient({}, answers=list(answers))


def test_redrive_queue_ends_when_nothing_is_handled() -> None:
    client = make_scripted_client((0, 3, False))
    result = make_redriver(client).redrive_queue("bus", rate_per_second=5)
    assert result == RedriveResult(handled=0, skipped=3, done=False, is_complete=False)
    assert len(client.requests) == 3


def test_redrive_queue_goes_on_after_a_request_without_a_match() -> None:
    client = make_scripted_client((0, 9000, False), (0, 9000, False), (4, 9000, False), (1, 20, True))
    result = make_redriver(client).redrive_queue("bus", rate_per_second=5, tenant="acme")
    assert result == RedriveResult(handled=5, skipped=20, done=True, is_complete=True)


def test_redrive_queue_is_not_complete_when_messages_cannot_be_redriven() -> None:
    client = make_scripted_client((2, 1, True))
    assert not make_redriver(client).redrive_queue("sweep", rate_per_second=5).is_complete


def test_discard_ends_when_all_named_messages_are_discarded() -> None:
    client = make_scripted_client((1, 9000, False), (1, 9000, False), (0, 9000, False))
    result = make_redriver(client).discard("dispatch", message_ids=["m1", "m2"])
    assert (result.handled, result.is_complete, len(client.requests)) == (2, True, 2)


def test_redrive_all_redrives_queues_that_have_messages() -> None:
    client = FakeClient({"dispatch": 3, "track": 0, "bus": 12})
    results = make_redriver(client).redrive_all(rate_per_second=5)
    counts = {queue: result.handled for queue, result in results.items()}
    assert counts == {"dispatch": 3, "track": 0, "bus": 12}
    assert all(result.is_complete for result in results.values())
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
