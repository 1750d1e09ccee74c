"""A local Replicate as tests and benchmarks hold it: started as a process, steered by its control API."""

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

_ROOT = Path(__file__).resolve().parents[2]
_START_SECONDS = 20.0
_CALL_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorClient:
    """Steers the local Replicate at `url` (an origin, without /v1); requests.HTTPError when refused."""

    url: str
    token: str = DEFAULT_TOKEN
    webhook_secret: str = DEFAULT_WEBHOOK_SECRET

    def inject_fault(self, endpoint: str, kind: str, **details: Any) -> None:
        """Install a fault rule that fires once, unless `times` says otherwise."""
        self.call_control_api("POST", "faults", {"endpoint": endpoint, "kind": kind, "times": 1, **details})

    def change_settings(self, **changes: Any) -> dict[str, Any]:
        """Change the named settings; all settings."""
        return self.call_control_api("POST", "settings", changes)

    def get_stats(self) -> dict[str, Any]:
        """Counts since start or reset."""
        return self.call_control_api("GET", "stats")

    def get_timeline(self, prediction_id: str) -> dict[str, Any]:
        """What happened to a prediction when, and every webhook attempt."""
        return self.call_control_api("GET", f"predictions/{prediction_id}/timeline")

    def complete_prediction(self, prediction_id: str, **ending: Any) -> dict[str, Any]:
        """End a held prediction with status, output, logs, error as given."""
        return self.call_control_api("POST", f"predictions/{prediction_id}/complete", ending)

    def reset(self) -> None:
        """As freshly started."""
        self.call_control_api("POST", "reset")

    def call_control_api(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """Any call of the control API; its JSON."""
        answer = requests.request(method, f"{self.url}/_control/{path}", json=body, timeout=_CALL_SECONDS)
        answer.raise_for_status()
        shown: dict[str, Any] = answer.json()
        return shown


@contextmanager
def run_simulator(*options: str) -> Iterator[SimulatorClient]:
    """A local Replicate of one's own on a free port, ended with the block. RuntimeError: it didn't start."""
    with tempfile.TemporaryDirectory(prefix="local-replicate-") as folder:
        ready = Path(folder) / "ready.json"
        command = [sys.executable, "-m", "tools.simulator", "--ready-file", str(ready), *options]
        with subprocess.Popen(command, cwd=_ROOT) as process:
            try:
                yield SimulatorClient(url=_url(process, ready))
            finally:
                process.terminate()


def _url(process: subprocess.Popen[bytes], ready: Path) -> str:
    deadline = time.monotonic() + _START_SECONDS
    while not ready.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("the local Replicate did not start")
        time.sleep(0.02)
    return str(json.loads(ready.read_text(encoding="utf-8"))["url"])
