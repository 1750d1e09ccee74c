"""Compare three ways to run the same predictions of a text model on the same local Replicate.

The ways are Replicate's official client straight to it; LiteLLM's proxy on its Replicate route; and the
official client with our base URL. Each gets the same requests at the same rate, without faults and with
faults of creates; a few that run for long; and then as many as it can take. No client repeats a create: the
official one does so for reads only.

LiteLLM runs in an environment of its own, `.venvs/peers` (requirements/peers.txt).
"""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests
from replicate.client import Client

from tools.bench.load import calculate_quantile
from tools.bench.results import record_result, record_samples
from tools.local.errors import LocalError
from tools.local.lifecycle import temporary_stack
from tools.local.loopback import LOOPBACK
from tools.local.paths import ROOT, StackFolder
from tools.local.processes import Daemon, clean_environment
from tools.local.screen import Screen
from tools.local.servers import choose_port
from tools.local.waiting import wait_for
from tools.simulator.client import SimulatorClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

MODEL = "meta/meta-llama-3-8b-instruct"
REQUESTS = 100
REQUESTS_PER_SECOND = 1.0
# The emulated Lambda starts a process for each request that waits: two cores cannot start fifty at once.
MAX_CONCURRENT_REQUESTS = 24
BURST_THREADS = 8
# Requests that wait for minutes, and so poll, must not be the load that is measured.
POLL_SECONDS = 2.0
WARM_UP_REQUESTS = (1, 4, 8)
RUN_SECONDS = 0.3
LONG_REQUESTS = 5
LONG_RUN_SECONDS = 30
# What goes wrong with creates. A 5xx and a lost response leave it open whether a prediction exists.
FAULTS: Sequence[Mapping[str, Any]] = (
    {"kind": "status", "status": 429, "retry_after": 1, "probability": 0.1},
    {"kind": "status", "status": 503, "probability": 0.1},
    {"kind": "status_after_accept", "status": 502, "probability": 0.1},
    {"kind": "reset_after_accept", "probability": 0.1},
)
_TIMEOUT_SECONDS = 900
_START_TIMEOUT_SECONDS = 180
_INPUT = {"max_tokens": 64}

type RunPrediction = Callable[[str], str]
"""Runs a prediction with this prompt and returns its text. Raises any exception if it fails."""


@dataclass(frozen=True, slots=True)
class Request:
    """What one request came to: seconds until its text or its error, and the name of the error."""

    prompt: str
    seconds: float
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What all requests of a way came to. `predictions` is how many Replicate created, by prompt."""

    requests: Sequence[Request]
    predictions: Mapping[str, int]
    seconds: float

    @property
    def completed(self) -> list[Request]:
        return [request for request in self.requests if request.error is None]

    @property
    def paid_twice(self) -> int:
        """Return for how many requests Replicate created more than one prediction."""
        return sum(self.predictions.get(request.prompt, 0) > 1 for request in self.requests)

    @property
    def paid_without_result(self) -> int:
        """Return for how many failed requests Replicate created a prediction nevertheless."""
        return sum(
            request.error is not None and self.predictions.get(request.prompt, 0) > 0
            for request in self.requests
        )


def main() -> int:
    """Measure and record. Return 0, whether or not the targets are met."""
    subprocess.run(["make", "-s", ".venvs/peers/.stamp"], cwd=ROOT, check=True)  # noqa: S607 - make on the path
    folder = StackFolder("bench")
    with temporary_stack(folder, Screen(), {}) as stack:
        simulator = SimulatorClient(url=stack.simulator_url)
        with run_with_client(stack.api_url, stack.api_key) as run:
            measure_way("ours", run, simulator)
        with run_with_client(simulator.url, simulator.token) as run:
            measure_way("direct", run, simulator)
        with run_litellm(simulator, folder) as run:
            measure_way("litellm", run, simulator)
    return 0


def measure_way(name: str, run: RunPrediction, simulator: SimulatorClient) -> None:
    """Send the requests under each condition, and record what they came to."""
    _prepare(simulator, ())
    for number, count in enumerate(WARM_UP_REQUESTS):
        send_requests(run, [f"warm-up-{number}-{index};" for index in range(count)], threads=count)
    for condition, faults in (("calm", ()), ("faults", FAULTS)):
        _prepare(simulator, faults)
        outcome = measure(run, simulator, REQUESTS, rate=REQUESTS_PER_SECOND, threads=MAX_CONCURRENT_REQUESTS)
        _record(f"peers.{name}.{condition}", outcome, is_ours=name == "ours")
        _record_latency(f"peers.{name}.{condition}", outcome)
    _prepare(simulator, (), run_seconds=LONG_RUN_SECONDS)
    outcome = measure(run, simulator, LONG_REQUESTS, rate=None, threads=LONG_REQUESTS)
    _record(f"peers.{name}.long", outcome, is_ours=name == "ours")
    _prepare(simulator, ())
    burst = measure(run, simulator, REQUESTS, rate=None, threads=BURST_THREADS)
    record_result(f"peers.{name}.burst.throughput", round(len(burst.completed) / burst.seconds, 2), "jobs/s")


def measure(
    run: RunPrediction, simulator: SimulatorClient, count: int, *, rate: float | None, threads: int
) -> Outcome:
    """Send all requests, at a rate or as fast as the threads can, and count the predictions of each."""
    prompts = [f"request-{number:04};" for number in range(count)]
    started_at = time.monotonic()
    sent = send_requests(run, prompts, rate=rate, threads=threads)
    seconds = time.monotonic() - started_at
    return Outcome(sent, count_predictions(simulator, prompts), seconds)


def send_requests(
    run: RunPrediction, prompts: Sequence[str], *, rate: float | None = None, threads: int
) -> list[Request]:
    """Send a request for each prompt, as fast as the threads can or at a rate.

    With a rate, the time in which a request waits for a thread counts as its own.
    """
    started_at = time.monotonic()

    def send(prompt: str, sent_at: float) -> Request:
        try:
            text = run(prompt)
        except Exception as error:  # noqa: BLE001 - each client has exceptions of its own; all are failures
            return Request(prompt, time.monotonic() - sent_at, _name_error(error))
        return Request(prompt, time.monotonic() - sent_at, None if text.strip() else "empty")

    with ThreadPoolExecutor(threads) as pool:
        futures = []
        for index, prompt in enumerate(prompts):
            if rate is not None:
                time.sleep(max(0.0, started_at + index / rate - time.monotonic()))
            futures.append(pool.submit(send, prompt, time.monotonic()))
        return [future.result() for future in futures]


def _name_error(error: Exception) -> str:
    """Return the class of an error, and the status of the response if it has one."""
    status = getattr(error, "status", None) or getattr(getattr(error, "response", None), "status_code", "")
    return f"{type(error).__name__} {status}".strip()


def count_predictions(simulator: SimulatorClient, prompts: Sequence[str]) -> dict[str, int]:
    """Return how many predictions exist by prompt. LiteLLM puts the prompt into a template."""
    results = simulator.call_control_api("GET", "predictions")["results"]
    inputs = [str(prediction["input"].get("prompt", "")) for prediction in results]
    return {prompt: count for prompt in prompts if (count := sum(prompt in text for text in inputs))}


@contextmanager
def run_with_client(base_url: str, token: str) -> Iterator[RunPrediction]:
    """Yield how Replicate's official Python client runs a prediction: create, wait, poll."""
    client = Client(base_url=base_url, api_token=token)
    client.poll_interval = POLL_SECONDS

    def run(prompt: str) -> str:
        prediction = client.models.predictions.create(MODEL, {"prompt": prompt, **_INPUT}, wait=True)
        prediction.wait()
        if prediction.status != "succeeded":
            raise LocalError(prediction.error or prediction.status)
        return "".join(prediction.output or ())

    with client._client:  # noqa: SLF001 - the client has no method that closes its connections
        yield run


def run_with_litellm(url: str, key: str) -> RunPrediction:
    """Return how a chat completion of LiteLLM's proxy runs a prediction."""

    def run(prompt: str) -> str:
        body = {"model": MODEL, "messages": [{"role": "user", "content": prompt}], **_INPUT}
        headers = {"Authorization": f"Bearer {key}"}
        response = requests.post(
            f"{url}/chat/completions", json=body, headers=headers, timeout=_TIMEOUT_SECONDS
        )
        response.raise_for_status()
        return str(response.json()["choices"][0]["message"]["content"])

    return run


@contextmanager
def run_litellm(simulator: SimulatorClient, folder: StackFolder) -> Iterator[RunPrediction]:
    """Run LiteLLM's proxy on a free port for the duration of the block, and yield how it runs a prediction.

    It belongs to the stack of the folder, and is stopped with it at the latest.
    """
    port, key = choose_port(), f"sk-{secrets.token_hex(32)}"
    url = f"http://{LOOPBACK}:{port}"
    config = folder.path / "litellm.yaml"
    config.write_text(json.dumps(build_litellm_config(simulator)), "utf-8")
    command = [ROOT / ".venvs/peers/bin/python", Path(__file__).with_name("peers_litellm.py")]
    # LiteLLM would load a list of prices and a tokenizer from the internet.
    offline = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "HF_HUB_OFFLINE": "1"}
    environment = clean_environment() | offline | {"LITELLM_MASTER_KEY": key}
    daemon = Daemon(folder, "litellm")
    daemon.start([*command, "--config", config, "--host", LOOPBACK, "--port", str(port)], environment)
    try:
        _wait_for_litellm(url, daemon)
        yield run_with_litellm(url, key)
    finally:
        daemon.stop()


def build_litellm_config(simulator: SimulatorClient) -> dict[str, Any]:
    """Return a configuration with defaults only. LiteLLM reads it as YAML, of which JSON is a part."""
    parameters = {"model": f"replicate/{MODEL}", "api_base": simulator.url, "api_key": simulator.token}
    return {"model_list": [{"model_name": MODEL, "litellm_params": parameters}]}


def _wait_for_litellm(url: str, daemon: Daemon) -> None:
    def is_ready() -> bool:
        try:
            return requests.get(f"{url}/health/liveliness", timeout=2).ok
        except requests.RequestException:
            return False

    try:
        wait_for(
            is_ready,
            timeout_seconds=_START_TIMEOUT_SECONDS,
            description="LiteLLM's proxy",
            is_alive=lambda: daemon.process is not None,
        )
    except LocalError as error:
        raise LocalError(f"{error}:\n{daemon.read_log_tail()}") from error


def _prepare(
    simulator: SimulatorClient, faults: Sequence[Mapping[str, Any]], *, run_seconds: float = RUN_SECONDS
) -> None:
    """Give each measurement the same Replicate: no predictions, the same times, the same random faults."""
    simulator.reset()
    simulator.change_settings(latency=run_seconds, jitter=0)
    for fault in faults:
        simulator.inject_fault("create", times=None, **fault)


def _record(name: str, outcome: Outcome, *, is_ours: bool) -> None:
    completed = len(outcome.completed)
    all_requests = len(outcome.requests)
    twice, without_result = outcome.paid_twice, outcome.paid_without_result
    targets = (f"= {all_requests}", "= 0", "= 0") if is_ours else ("", "", "")
    met = (completed == all_requests, twice == 0, without_result == 0) if is_ours else (None, None, None)
    record_result(f"{name}.completed", completed, "jobs", targets[0], met[0])
    record_result(f"{name}.paid_twice", twice, "duplicates", targets[1], met[1])
    record_result(f"{name}.paid_without_result", without_result, "lost results", targets[2], met[2])
    created = sum(outcome.predictions.values())
    record_result(f"{name}.created", round(created / all_requests, 3), "predictions per request")
    if errors := Counter(request.error for request in outcome.requests if request.error):
        print(f"  errors: {dict(errors)}", flush=True)


def _record_latency(name: str, outcome: Outcome) -> None:
    milliseconds = [1000 * request.seconds for request in outcome.completed]
    for share, label in ((0.5, "p50"), (0.99, "p99")):
        value = round(calculate_quantile(milliseconds, share)) if milliseconds else None
        record_result(f"{name}.{label}", value, "ms")
    record_samples(name, milliseconds, "ms")


if __name__ == "__main__":
    sys.exit(main())
