"""A running simulator, a webhook receiver, and clients that talk to them over loopback."""

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
class WebhookCall:
    """One webhook request as the receiver got it."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def prediction(self) -> dict[str, Any]:
        prediction: dict[str, Any] = json.loads(self.body)
        return prediction

    @property
    def status(self) -> str:
        return str(self.prediction["status"])

    @property
    def lower_case_headers(self) -> dict[str, str]:
        """The headers as the verifier of standardwebhooks expects them."""
        return {name.lower(): value for name, value in self.headers.items()}


@dataclass
class WebhookReceiver:
    """Records webhooks; responds with the planned status codes in turn, then with 200."""

    url: str
    calls: "queue.Queue[WebhookCall]" = field(default_factory=queue.Queue)
    planned_statuses: list[int] = field(default_factory=list)

    def wait_for_call(self, seconds: float = 10) -> WebhookCall:
        return self.calls.get(timeout=seconds)

    def stays_quiet(self, seconds: float = 0.3) -> bool:
        """Return whether no further webhook arrives within the time."""
        try:
            self.calls.get(timeout=seconds)
        except queue.Empty:
            return True
        return False


@dataclass(frozen=True)
class Api:
    """Raw HTTP requests with the token."""

    simulator: SimulatorClient

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.simulator.token}", **options.pop("headers", {})}
        timeout = options.pop("timeout", 10)
        return requests.request(
            method, f"{self.simulator.url}{path}", headers=headers, timeout=timeout, **options
        )

    def create_lab(self, **model_input: Any) -> dict[str, Any]:
        """Create a `local/lab` prediction; `headers`, `webhook` and `webhook_events_filter` are not input."""
        body: dict[str, Any] = {"version": "local/lab"}
        for name in ("webhook", "webhook_events_filter"):
            if name in model_input:
                body[name] = model_input.pop(name)
        headers = model_input.pop("headers", {})
        body["input"] = {"startup": 0, "latency": 0} | model_input
        response = self.call("POST", "/v1/predictions", json=body, headers=headers)
        assert response.status_code in (201, 202), response.text
        prediction: dict[str, Any] = response.json()
        return prediction

    def run_lab(self, **model_input: Any) -> dict[str, Any]:
        """Create a `local/lab` prediction and wait until it ends."""
        return self.create_lab(**model_input, headers={"Prefer": "wait=10"})

    def get_prediction(self, prediction_id: str) -> dict[str, Any]:
        prediction: dict[str, Any] = self.call("GET", f"/v1/predictions/{prediction_id}").json()
        return prediction


@pytest.fixture(scope="session")
def shared_simulator() -> Iterator[SimulatorClient]:
    with run_simulator("--seed", "7", "--latency", "0.05", "--webhook-retry-scale", "0.01") as simulator:
        yield simulator


@pytest.fixture
def simulator(shared_simulator: SimulatorClient) -> SimulatorClient:
    shared_simulator.reset()
    return shared_simulator


@pytest.fixture
def api(simulator: SimulatorClient) -> Api:
    return Api(simulator)


@pytest.fixture
def client(simulator: SimulatorClient, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    monkeypatch.setenv("REPLICATE_BASE_URL", simulator.url)
    monkeypatch.setenv("REPLICATE_POLL_INTERVAL", "0.05")
    client = Client(api_token=simulator.token)
    yield client
    client._client.close()  # the client has no public close method


@pytest.fixture
def wait_until() -> Callable[[Callable[[], object]], None]:
    """Assert that a condition becomes true within ten seconds."""

    def wait(condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < deadline, "the condition did not become true in time"
            threading.Event().wait(0.02)

    return wait


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            status = recorder.planned_statuses.pop(0) if recorder.planned_statuses else 200
            recorder.calls.put(WebhookCall(self.path, dict(self.headers.items()), body))
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("location", f"{recorder.url}/moved")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    recorder = WebhookReceiver(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True, kwargs={"poll_interval": 0.05})
    thread.start()
    yield recorder
    server.shutdown()
    thread.join()
    server.server_close()
