"""Client for tests and benchmarks: starts a local Replicate and drives it through its control API."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from tools.simulator.settings import DEFAULT_TOKEN, DEFAULT_WEBHOOK_SECRET

_PROJECT_ROOT = Path(__file__).resolve().parents[2]
_START_TIMEOUT_SECONDS = 20.0
_REQUEST_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorClient:
    """Drives the local Replicate at `url` (an origin, without /v1). Raises requests.HTTPError."""

    url: str
    token: str = DEFAULT_TOKEN
    webhook_secret: str = DEFAULT_WEBHOOK_SECRET

    def inject_fault(self, endpoint: str, kind: str, **conditions: Any) -> None:
        """Install a fault rule that fires once, unless `times` says otherwise."""
        rule = {"endpoint": endpoint, "kind": kind, "times": 1, **conditions}
        self.call_control_api("POST", "faults", rule)

    def change_settings(self, **changes: Any) -> dict[str, Any]:
        """Change the named settings and return all settings."""
        return self.call_control_api("POST", "settings", changes)

    def get_stats(self) -> dict[str, Any]:
        """Return the counts since start or reset."""
        return self.call_control_api("GET", "stats")

    def find_predictions(self, job_id: str) -> list[dict[str, Any]]:
        """Return the predictions that a job of the proxy created, which have its ID in their webhook URL."""
        page = self.call_control_api("GET", f"predictions?webhook={job_id}")
        predictions: list[dict[str, Any]] = page["results"]
        return predictions

    def get_timeline(self, prediction_id: str) -> dict[str, Any]:
        """Return the times of a prediction and its webhook attempts."""
        return self.call_control_api("GET", f"predictions/{prediction_id}/timeline")

    def complete_prediction(self, prediction_id: str, **completion: Any) -> dict[str, Any]:
        """Complete a held prediction with `status`, `output`, `logs`, `error`, all optional."""
        return self.call_control_api("POST", f"predictions/{prediction_id}/complete", completion)

    def reset(self) -> None:
        """Return the simulator to the state after its start."""
        self.call_control_api("POST", "reset")

    def call_control_api(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """Call the control API and return the JSON of the response."""
        url = f"{self.url}/_control/{path}"
        response = requests.request(method, url, json=body, timeout=_REQUEST_TIMEOUT_SECONDS)
        response.raise_for_status()
        document: dict[str, Any] = response.json()
        return document


@contextmanager
def run_simulator(*options: str) -> Iterator[SimulatorClient]:
    """Run a local Replicate on a free port for the duration of the block. Raises RuntimeError."""
    with tempfile.TemporaryDirectory(prefix="local-replicate-") as folder:
        ready_file = Path(folder) / "ready.json"
        command = [sys.executable, "-m", "tools.simulator", "--ready-file", str(ready_file), *options]
        with subprocess.Popen(command, cwd=_PROJECT_ROOT) as process:
            try:
                yield SimulatorClient(url=_wait_for_url(process, ready_file))
            finally:
                process.terminate()


def _wait_for_url(process: subprocess.Popen[bytes], ready_file: Path) -> str:
    deadline = time.monotonic() + _START_TIMEOUT_SECONDS
    while not ready_file.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("the local Replicate did not start")
        time.sleep(0.02)
    return str(json.loads(ready_file.read_text(encoding="utf-8"))["url"])
