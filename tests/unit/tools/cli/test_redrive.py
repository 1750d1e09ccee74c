"""The redrive command against a fake client and a fake admin API."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
import responses

from replicate_proxy.errors import PermanentError, RetryableError
from tools.cli import redrive
from tools.cli.admin_client import AdminClient
from tools.cli.redrive import Redriver

URL = "https://api.example/prod"


@dataclass
class FakeClient:
    """Redrives at most ten messages per request; the first `failures` requests fail."""

    message_counts: dict[str, int]
    failures: int = 0
    requests: list[dict[str, Any]] = field(default_factory=list)

    def list_queues(self) -> list[dict[str, Any]]:
        self._maybe_fail()
        return [
            {"name": name, "dead_letters": {"waiting": count, "in_flight": 0}}
            for name, count in self.message_counts.items()
        ]

    def redrive(self, queue: str, **fields: Any) -> dict[str, Any]:
        self._maybe_fail()
        self.requests.append({"queue": queue, **fields})
        handled = min(10, self.message_counts[queue])
        self.message_counts[queue] -= handled
        return {"handled": handled, "skipped": 0, "done": not self.message_counts[queue]}

    def _maybe_fail(self) -> None:
        if self.failures:
            self.failures -= 1
            raise RetryableError("503: busy")


def make_redriver(client: FakeClient) -> Redriver:
    return Redriver(client, sleep=lambda _: None)  # type: ignore[arg-type] # has the methods that Redriver calls


def test_redrive_queue_repeats_requests_until_done() -> None:
    client = FakeClient({"dispatch": 25})
    assert make_redriver(client).redrive_queue("dispatch", rate_per_second=5) == 25
    assert client.message_counts == {"dispatch": 0}


def test_redrive_queue_ends_when_nothing_is_handled() -> None:
    class StuckClient(FakeClient):
        def redrive(self, queue: str, **fields: Any) -> dict[str, Any]:
            return {"handled": 0, "skipped": 3, "done": False}

    assert make_redriver(StuckClient({"bus": 3})).redrive_queue("bus", rate_per_second=5) == 0


def test_redrive_all_redrives_queues_that_have_messages() -> None:
    client = FakeClient({"dispatch": 3, "track": 0, "bus": 12})
    assert make_redriver(client).redrive_all(rate_per_second=5) == {"dispatch": 3, "track": 0, "bus": 12}
    assert {request["queue"] for request in client.requests} == {"dispatch", "bus"}


def test_retryable_error_is_retried_four_times() -> None:
    assert make_redriver(FakeClient({"dispatch": 2}, failures=4)).count_messages() == {"dispatch": 2}
    with pytest.raises(RetryableError, match="busy"):
        make_redriver(FakeClient({"dispatch": 2}, failures=5)).count_messages()


@pytest.fixture
def api() -> Any:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


def run(*arguments: str) -> Any:
    return redrive.run_command(redrive.parse_arguments(arguments), AdminClient(URL, "rp_operator"))


def test_main_prints_counts_when_no_queue_is_named(
    api: responses.RequestsMock, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REPLICATE_PROXY_URL", URL)
    monkeypatch.setenv("REPLICATE_PROXY_ADMIN_KEY", "rp_operator")
    queues = [{"name": "bus", "dead_letters": {"waiting": 2, "in_flight": 1}}]
    api.get(f"{URL}/admin/queues", json={"results": queues})
    assert redrive.main([]) == 0
    assert capsys.readouterr().out == '{\n  "bus": 3\n}\n'


def test_peek_returns_messages(api: responses.RequestsMock) -> None:
    messages = [{"message_id": "m1", "tenant": "acme"}]
    api.get(f"{URL}/admin/queues/bus/dead-letters?limit=7&body=false", json={"results": messages})
    assert run("bus", "--peek", "7") == messages


def test_request_contains_filter_and_rate(api: responses.RequestsMock) -> None:
    api.post(f"{URL}/admin/queues/bus/redrive", json={"handled": 1, "skipped": 0, "done": True})
    messages = ["--message", "m1", "--message", "m2"]
    assert run("bus", "--tenant", "acme", "--job", "j1", *messages, "--rate", "3") == {"bus": 1}
    assert json.loads(api.calls[0].request.body or "") == {
        "tenant": "acme",
        "job_id": "j1",
        "message_ids": ["m1", "m2"],
        "rate_per_second": 3.0,
    }


def test_unknown_queue_raises_error_with_detail_of_problem(api: responses.RequestsMock) -> None:
    api.post(f"{URL}/admin/queues/x/redrive", json={"detail": "no such queue"}, status=404)
    with pytest.raises(PermanentError, match="no such queue"):
        run("x")
