"""Dead letters from the command line: counted, looked at, sent back; over requests that fail for a while."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
import responses

from replicate_proxy.errors import PermanentError, RetryableError
from tools.cli.admin_client import AdminClient
from tools.cli.redrive import Redriver, format_json, run_command

URL = "https://api.example/prod"


@dataclass
class FakeClient:
    """Queues of so many letters; a request handles ten at most, and `fails` come first."""

    letters: dict[str, int]
    fails: int = 0
    asked: list[dict[str, Any]] = field(default_factory=list)

    def list_queues(self) -> list[dict[str, Any]]:
        self._fail()
        return [
            {"name": name, "dead_letters": {"waiting": count, "in_flight": 0}}
            for name, count in self.letters.items()
        ]

    def redrive(self, queue: str, **fields: Any) -> dict[str, Any]:
        self._fail()
        self.asked.append({"queue": queue, **fields})
        handled = min(10, self.letters[queue])
        self.letters[queue] -= handled
        return {"handled": handled, "skipped": 0, "done": not self.letters[queue]}

    def _fail(self) -> None:
        if self.fails:
            self.fails -= 1
            raise RetryableError("503: busy")


def redrive(client: FakeClient) -> Redriver:
    return Redriver(client, sleep=lambda _: None)  # type: ignore[arg-type] # has what Redrive calls


def test_it_goes_on_until_nothing_is_left() -> None:
    client = FakeClient({"dispatch": 25})
    assert redrive(client).redrive_queue("dispatch", rate=5) == 25
    assert client.letters == {"dispatch": 0}


def test_a_queue_whose_letters_must_stay_ends_it_too() -> None:
    class Stuck(FakeClient):
        def redrive(self, queue: str, **fields: Any) -> dict[str, Any]:
            return {"handled": 0, "skipped": 3, "done": False}

    assert redrive(Stuck({"bus": 3})).redrive_queue("bus", rate=5) == 0


def test_all_means_every_queue_that_has_any() -> None:
    client = FakeClient({"dispatch": 3, "track": 0, "bus": 12})
    assert redrive(client).redrive_all(rate=5) == {"dispatch": 3, "bus": 12}
    assert {request["queue"] for request in client.asked} == {"dispatch", "bus"}


def test_a_passing_failure_is_asked_again_a_lasting_one_is_told() -> None:
    assert redrive(FakeClient({"dispatch": 2}, fails=4)).count_messages() == {"dispatch": 2}
    with pytest.raises(RetryableError, match="busy"):
        redrive(FakeClient({"dispatch": 2}, fails=5)).count_messages()


@pytest.fixture
def api() -> Any:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


def call(*arguments: str) -> Any:
    return run_command(arguments, AdminClient(URL, "rp_operator"))


def test_without_a_queue_they_are_counted(api: responses.RequestsMock) -> None:
    rows = [{"name": "bus", "dead_letters": {"waiting": 2, "in_flight": 1}}]
    api.get(f"{URL}/admin/queues", json={"results": rows})
    assert format_json(call()) == '{\n  "bus": 3\n}'


def test_peeking_shows_and_moves_nothing(api: responses.RequestsMock) -> None:
    letters = [{"message_id": "m1", "tenant": "acme"}]
    api.get(f"{URL}/admin/queues/bus/dead-letters?limit=7&body=false", json={"results": letters})
    assert call("bus", "--peek", "7") == letters


def test_a_filter_and_a_rate_travel_with_the_request(api: responses.RequestsMock) -> None:
    api.post(f"{URL}/admin/queues/bus/redrive", json={"handled": 1, "skipped": 0, "done": True})
    messages = ["--message", "m1", "--message", "m2"]
    assert call("bus", "--tenant", "acme", "--job", "j1", *messages, "--rate", "3") == {"bus": 1}
    assert json.loads(api.calls[0].request.body or "") == {
        "tenant": "acme",
        "job_id": "j1",
        "message_ids": ["m1", "m2"],
        "rate_per_second": 3.0,
    }


def test_an_unknown_queue_is_told_in_the_apis_words(api: responses.RequestsMock) -> None:
    api.post(f"{URL}/admin/queues/x/redrive", json={"detail": "no such queue"}, status=404)
    with pytest.raises(PermanentError, match="no such queue"):
        call("x")
