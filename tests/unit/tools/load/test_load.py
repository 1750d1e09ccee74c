"""The load test without locust: what it sends to whom, and what it finds out about accepted predictions."""

from __future__ import annotations

import json
import threading
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from tools.load.__main__ import build_report, is_good, main
from tools.load.outcome import Accepted, Outcome, follow, read_accepted
from tools.load.scenarios import SCENARIOS, Scenario
from tools.load.settings import VARIABLE, LoadSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROW = {"50%": "20", "95%": "40", "99%": "60"}
REQUESTS = {
    "create": {**ROW, "Request Count": "10", "Failure Count": "0"},
    "Aggregated": {**ROW, "Request Count": "30", "Failure Count": "0"},
}


def make_view(status: str, *, ended_at: str | None = None) -> dict[str, Any]:
    timeline = {"accepted": "2026-11-26T12:00:00.000Z"} | ({"finished": ended_at} if ended_at else {})
    return {"status": status, "proxy": {"timeline": timeline}}


@contextmanager
def serve(answers: dict[str, list[tuple[int, Any]]]) -> Iterator[tuple[str, Counter[str]]]:
    """Answer each path with its responses in turn, the last one again and again."""
    asked: Counter[str] = Counter()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = f"{self.headers['authorization'].removeprefix('Bearer ')} {self.path}"
            responses = answers.get(path, [(404, {})])
            status, body = responses[min(asked[path], len(responses) - 1)]
            asked[path] += 1
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_predictions_are_followed_with_their_keys_until_they_end() -> None:
    accepted = read_accepted(["0 a", "1 b", "0 c"], ["key-0", "key-1"])
    left: list[int] = []
    answers = {
        "key-0 /v1/predictions/a": [(200, make_view("succeeded", ended_at="2026-11-26T12:00:02.000Z"))],
        "key-1 /v1/predictions/b": [
            (200, make_view("processing")),
            (503, {}),
            (200, make_view("failed", ended_at="2026-11-26T12:00:04.000Z")),
        ],
    }
    with serve(answers) as (url, asked):
        outcome = follow(url, accepted, timeout_seconds=60, report=left.append, sleep=lambda _: None)

    assert left == [1, 1, 0]
    assert outcome.statuses == {"succeeded": 1, "failed": 1}
    assert outcome.lost == ["c"]
    assert outcome.drained_per_second == pytest.approx(0.5)
    assert asked["key-0 /v1/predictions/a"] == 1


def test_predictions_that_do_not_end_in_time_are_lost() -> None:
    with serve({"k /v1/predictions/a": [(200, make_view("processing"))]}) as (url, _):
        outcome = follow(url, [Accepted("k", "a")], timeout_seconds=0, report=lambda _: None)

    assert outcome.lost == ["a"]
    assert outcome.drained_per_second is None


@pytest.mark.parametrize(
    ("accepted", "lost", "errors", "expected"),
    [(10, [], "0", True), (0, [], "0", False), (10, ["a"], "0", False), (10, [], "1", False)],
)
def test_report_is_good_if_nothing_is_lost_and_few_requests_failed(
    accepted: int, lost: list[str], errors: str, *, expected: bool
) -> None:
    requests = {**REQUESTS, "Aggregated": {**REQUESTS["Aggregated"], "Failure Count": errors}}

    report = build_report(requests, Outcome(lost=lost), accepted=accepted, seconds=5)

    assert is_good(report) is expected
    assert report["accepted_per_second"] == accepted / 5
    assert report["latency_ms"] == {"create": {"50%": 20, "95%": 40, "99%": 60}}


def test_bursts_alternate_around_the_rate() -> None:
    scenario = SCENARIOS["burst"]

    assert [scenario.count_users(10, elapsed) for elapsed in (0, 9.9, 10, 19.9, 20)] == [10, 10, 150, 150, 10]
    assert {SCENARIOS["steady"].count_users(2, elapsed) for elapsed in range(60)} == {10}


@pytest.mark.parametrize(
    ("shares", "keys", "expected"),
    [((4, 1), ["a", "b"], "aaaab"), ((1,), ["a", "b", "c"], "abc"), ((4, 1), ["a"], "aaaa")],
)
def test_users_take_tenants_by_their_shares(
    shares: tuple[int, ...], keys: Sequence[str], expected: str
) -> None:
    assert "".join(Scenario(description="", shares=shares).choose_tenants(keys)) == expected


def test_settings_reach_locust_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = LoadSettings(
        scenario="steady",
        seconds=1,
        rate=1.5,
        url="http://127.0.0.1:1/local",
        keys=["k"],
        model="a/b",
        input={"prompt": "x"},
        accepted_file="f",
    )
    monkeypatch.setenv(VARIABLE, settings.dump())

    assert LoadSettings.from_env() == settings


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--url", "https://x"], "each prediction is paid for"),
        (["--url", "https://x", "--model", "a/b", "--input", "[]"], "each prediction is paid for"),
        (["--rate", "0"], "--rate"),
        (["--seconds", "inf"], "--seconds"),
        (["storm"], "invalid choice"),
    ],
)
def test_wrong_arguments_are_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(arguments)

    assert message in capsys.readouterr().err


def test_missing_keys_are_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROXY_API_KEYS", raising=False)

    assert main(["--url", "https://x", "--model", "a/b", "--input", "{}"]) == 2
    assert "PROXY_API_KEYS" in capsys.readouterr().err
