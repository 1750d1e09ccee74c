"""A real local Replicate, a real webhook receiver, and the clients that talk to them over loopback."""

import json
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import requests
from replicate.client import Client

from tools.simulator.client import SimulatorClient, run_simulator


@dataclass
class Call:
    """One webhook as it arrived."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def shown(self) -> dict[str, Any]:
        prediction: dict[str, Any] = json.loads(self.body)
        return prediction

    @property
    def status(self) -> str:
        return str(self.shown["status"])


@dataclass
class Receiver:
    """Records webhooks; answers with the planned status codes in turn, then with 200."""

    url: str
    calls: "queue.Queue[Call]" = field(default_factory=queue.Queue)
    answers: list[int] = field(default_factory=list)

    def next(self, seconds: float = 10) -> Call:
        return self.calls.get(timeout=seconds)

    def quiet(self, seconds: float = 0.3) -> bool:
        """Whether nothing more arrives for so long."""
        try:
            self.calls.get(timeout=seconds)
        except queue.Empty:
            return True
        return False


@dataclass(frozen=True)
class Api:
    """Raw HTTP with the token."""

    remote: SimulatorClient

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.remote.token}", **options.pop("headers", {})}
        timeout = options.pop("timeout", 10)
        return requests.request(
            method, f"{self.remote.url}{path}", headers=headers, timeout=timeout, **options
        )

    def lab(self, **given: Any) -> dict[str, Any]:
        """Create a `local/lab` prediction; options in capitals are headers, `webhook…` go to the body."""
        body: dict[str, Any] = {"version": "local/lab"}
        for name in ("webhook", "webhook_events_filter"):
            if name in given:
                body[name] = given.pop(name)
        headers = given.pop("headers", {})
        quick = {"startup": 0, "latency": 0}
        answer = self.call("POST", "/v1/predictions", json={**body, "input": quick | given}, headers=headers)
        assert answer.status_code in (201, 202), answer.text
        prediction: dict[str, Any] = answer.json()
        return prediction

    def finished(self, **given: Any) -> dict[str, Any]:
        """The same, waiting for its end."""
        return self.lab(**given, headers={"Prefer": "wait=10"})

    def get(self, prediction_id: str) -> dict[str, Any]:
        prediction: dict[str, Any] = self.call("GET", f"/v1/predictions/{prediction_id}").json()
        return prediction


@pytest.fixture(scope="session")
def simulator() -> Iterator[SimulatorClient]:
    with run_simulator("--seed", "7", "--latency", "0.05", "--webhook-retry-scale", "0.01") as remote:
        yield remote


@pytest.fixture
def remote(simulator: SimulatorClient) -> SimulatorClient:
    simulator.reset()
    return simulator


@pytest.fixture
def api(remote: SimulatorClient) -> Api:
    return Api(remote)


@pytest.fixture
def client(remote: SimulatorClient, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setenv("REPLICATE_BASE_URL", remote.url)
    monkeypatch.setenv("REPLICATE_POLL_INTERVAL", "0.05")
    client = Client(api_token=remote.token)
    yield client
    client._client.close()  # the client has no close of its own


@pytest.fixture
def eventually() -> Callable[[Callable[[], object]], None]:
    """Asserts that a check comes true within ten seconds."""

    def wait(check: Callable[[], object]) -> None:
        deadline = time.monotonic() + 10
        while not check():
            assert time.monotonic() < deadline, "it never came true"
            threading.Event().wait(0.02)

    return wait


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            status = recorder.answers.pop(0) if recorder.answers else 200
            recorder.calls.put(Call(self.path, dict(self.headers.items()), body))
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("location", f"{recorder.url}/moved")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    recorder = Receiver(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True, kwargs={"poll_interval": 0.05})
    thread.start()
    yield recorder
    server.shutdown()
    thread.join()
    server.server_close()
