"""The comparison with peers: what is counted, and LiteLLM's server, which is replaced by a small one."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import requests

from tools.bench import peers
from tools.bench.peers import Outcome, Request, measure, measure_way, run_with_client, send_requests
from tools.local.errors import LocalError
from tools.local.paths import StackFolder
from tools.simulator.client import SimulatorClient, run_simulator

# What the launcher of LiteLLM starts with: a server with a child, on the port of the command line.
FAKE_SERVER = """
import json, os, subprocess, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
options = dict(zip(sys.argv[2::2], sys.argv[3::2]))
(deployment,) = json.load(open(options["--config"]))["model_list"]
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer({})
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        assert self.headers["Authorization"] == f"Bearer {os.environ['LITELLM_MASTER_KEY']}"
        text = f"{child.pid} {deployment['litellm_params']['model']} {asked['messages'][0]['content']}"
        self.answer({"choices": [{"message": {"content": text}}]})
    def answer(self, body):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())
HTTPServer(("127.0.0.1", int(options["--port"])), Handler).serve_forever()
"""


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorClient]:
    with run_simulator() as client:
        client.change_settings(latency=0)
        yield client


@pytest.fixture
def python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the interpreter of LiteLLM's environment, which a test replaces by a script."""
    monkeypatch.setattr(peers, "ROOT", tmp_path)
    path = tmp_path / ".venvs/peers/bin/python"
    path.parent.mkdir(parents=True)
    return path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StackFolder:
    monkeypatch.setattr("tools.local.paths.LOCAL_FOLDER", tmp_path)
    folder = StackFolder("unit")
    folder.create()
    return folder


def replace_interpreter(path: Path, script: str) -> None:
    code = path.with_name("fake.py")
    code.write_text(script, "utf-8")
    path.write_text(f'#!/bin/sh\nexec {sys.executable} {code} "$@"\n', "utf-8")
    path.chmod(0o700)


def test_outcome_counts_what_was_paid_for_in_vain() -> None:
    sent = [Request(f"r{number}", 0.1, error) for number, error in enumerate([None, "Timeout", "Timeout"])]

    outcome = Outcome(sent, {"r0": 2, "r1": 1}, 1.0)

    assert (len(outcome.completed), outcome.paid_twice, outcome.paid_without_result) == (1, 1, 1)


def test_request_that_raises_or_returns_nothing_has_failed() -> None:
    def run(prompt: str) -> str:
        if prompt == "b":
            raise LocalError("no")
        return {"a": "text", "c": " "}[prompt]

    sent = send_requests(run, ["a", "b", "c"], threads=2)

    outcomes = [(request.prompt, request.error) for request in sent]
    assert outcomes == [("a", None), ("b", "LocalError"), ("c", "empty")]


def test_slow_request_does_not_delay_others_that_are_sent_at_a_rate() -> None:
    sent_at: dict[str, float] = {}

    def run(prompt: str) -> str:
        sent_at[prompt] = time.monotonic()
        time.sleep(1.0 if prompt == "a" else 0)
        return "text"

    send_requests(run, ["a", "b", "c"], rate=20, threads=3)

    assert 0.05 <= sent_at["c"] - sent_at["a"] < 1


def test_client_whose_response_is_lost_has_paid_without_a_result(
    simulator: SimulatorClient,
) -> None:
    simulator.inject_fault("create", "reset_after_accept")

    with run_with_client(simulator.url, simulator.token) as run:
        outcome = measure(run, simulator, 2, rate=None, threads=1)

    assert [request.error is None for request in outcome.requests] == [False, True]
    assert (outcome.paid_without_result, outcome.paid_twice) == (1, 0)
    assert dict(outcome.predictions) == {"request-0000;": 1, "request-0001;": 1}


def test_each_measurement_starts_with_the_same_replicate_and_its_faults(
    simulator: SimulatorClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A way that sends each create twice: twice as many predictions, but for those that a fault rejects."""
    monkeypatch.setattr(peers, "REQUESTS", 2)
    monkeypatch.setattr(peers, "REQUESTS_PER_SECOND", 100)
    monkeypatch.setattr(peers, "LONG_RUN_SECONDS", 0.5)
    monkeypatch.setattr(peers, "FAULTS", ({"kind": "status", "status": 429, "probability": 1},))

    with run_with_client(simulator.url, simulator.token) as run:
        measure_way("twice", lambda prompt: run(prompt) + run(prompt), simulator)

    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    recorded = {words[0]: words[1] for words in printed if words[0].startswith("peers.")}
    assert float(recorded["peers.twice.calm.created"]) == 2
    assert recorded["peers.twice.calm.paid_twice"] == "2"
    assert recorded["peers.twice.faults.completed"] == "0"
    assert float(recorded["peers.twice.faults.created"]) == 0
    assert recorded["peers.twice.faults.p50"] == "None"
    assert recorded["peers.twice.long.completed"] == "5"
    assert float(recorded["peers.twice.burst.throughput"]) > 0


def test_server_of_litellm_gets_the_local_replicate_and_is_stopped_with_its_children(
    python: Path, simulator: SimulatorClient, folder: StackFolder
) -> None:
    replace_interpreter(python, FAKE_SERVER)

    with peers.run_litellm(simulator, folder) as run:
        pid, model, prompt = run("poem").split()
        child = psutil.Process(int(pid))

    assert (model, prompt) == (f"replicate/{peers.MODEL}", "poem")
    assert not child.is_running()
    with pytest.raises(requests.ConnectionError):
        run("poem")


def test_server_of_litellm_that_ends_is_an_error_with_its_log(
    python: Path, simulator: SimulatorClient, folder: StackFolder
) -> None:
    replace_interpreter(python, "raise SystemExit('no such option')")

    with pytest.raises(LocalError, match="no such option"), peers.run_litellm(simulator, folder):
        pass


def test_configuration_names_the_local_replicate(simulator: SimulatorClient) -> None:
    (deployment,) = peers.build_litellm_config(simulator)["model_list"]

    assert deployment["litellm_params"]["api_base"] == simulator.url
    assert json.dumps(deployment["model_name"]) == f'"{peers.MODEL}"'
