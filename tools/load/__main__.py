"""Run a load test on a temporary local stack, or on any deployed one; see `make load`.

The exit code is 1 if a prediction is lost or did not end in time, or if more requests failed than
`MAX_ERROR_SHARE`.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.load.outcome import Outcome, follow, read_accepted
from tools.load.scenarios import SCENARIOS
from tools.load.settings import VARIABLE, LoadSettings
from tools.local.errors import LocalError
from tools.local.keys import KeyIssuer
from tools.local.lifecycle import temporary_stack
from tools.local.paths import LOCAL_FOLDER, ROOT, StackFolder
from tools.local.screen import Screen
from tools.simulator.client import SimulatorClient

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_ERROR_SHARE = 0.01
_LOCAL_MODEL = "black-forest-labs/flux-schnell"
_LOCAL_INPUT = {"prompt": "a lighthouse", "output_format": "png"}
_LOCUST = ROOT / ".venvs" / "load" / "bin" / "locust"
_LOCUSTFILE = Path(__file__).with_name("locustfile.py")
_KEYS_VARIABLE = "PROXY_API_KEYS"


@dataclass(frozen=True, slots=True)
class Target:
    """Where the requests go: origin and stage, a key of each tenant, and what is created."""

    url: str
    keys: list[str]
    model: str
    input: Mapping[str, Any]


def main(arguments: list[str] | None = None) -> int:
    """Run the scenario and print what it showed."""
    options = _parse(arguments)
    scenario = SCENARIOS[options.scenario]
    seconds, rate = options.seconds or scenario.seconds, options.rate or scenario.rate
    folder = LOCAL_FOLDER / "load"
    folder.mkdir(parents=True, exist_ok=True)
    accepted_file = folder / f"{options.scenario}.accepted"
    accepted_file.write_text("", "utf-8")
    try:
        with _find_target(options, len(scenario.shares)) as target:
            print(
                f"{options.scenario}: {scenario.description}; {rate:g} creates a second for {seconds:g} s",
                flush=True,
            )
            settings = LoadSettings(
                scenario=options.scenario,
                seconds=seconds,
                rate=rate,
                url=target.url,
                keys=target.keys,
                model=target.model,
                input=dict(target.input),
                accepted_file=str(accepted_file),
            )
            _run_locust(settings, folder)
            accepted = read_accepted(accepted_file.read_text("utf-8").splitlines(), target.keys)
            outcome = follow(
                target.url,
                accepted,
                timeout_seconds=options.drain_seconds,
                report=lambda left: print(
                    f"{left} of {len(accepted)} predictions have not ended", flush=True
                ),
            )
    except LocalError as error:
        print(error, file=sys.stderr)
        return 2
    requests = _read_requests(folder / f"{options.scenario}_stats.csv")
    report = build_report(requests, outcome, accepted=len(accepted), seconds=seconds)
    (folder / f"{options.scenario}.json").write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    print(json.dumps(report, indent=2))
    print(f"report: {folder.relative_to(ROOT)}/{options.scenario}.html")
    return 0 if is_good(report) else 1


def build_report(
    requests: Mapping[str, Mapping[str, str]], outcome: Outcome, *, accepted: int, seconds: float
) -> dict[str, Any]:
    """Return the figures: rates in predictions a second, latencies in milliseconds."""
    total = requests["Aggregated"]
    drained = outcome.drained_per_second
    return {
        "accepted": accepted,
        "accepted_per_second": round(accepted / seconds, 2),
        "drained_per_second": None if drained is None else round(drained, 2),
        "ended": dict(outcome.statuses),
        "lost": len(outcome.lost),
        "requests": int(total["Request Count"]),
        "errors": int(total["Failure Count"]),
        "latency_ms": {
            name: {share: float(row[share]) for share in ("50%", "95%", "99%")}
            for name, row in requests.items()
            if name != "Aggregated"
        },
    }


def is_good(report: Mapping[str, Any]) -> bool:
    """Return whether nothing is lost and few requests failed."""
    return (
        report["accepted"] > 0
        and not report["lost"]
        and report["errors"] <= MAX_ERROR_SHARE * report["requests"]
    )


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make load", description=__doc__)
    parser.add_argument("scenario", nargs="?", default="steady", choices=list(SCENARIOS))
    parser.add_argument("--seconds", type=_positive)
    parser.add_argument("--rate", type=_positive, help="creates a second")
    parser.add_argument("--drain-seconds", type=_positive, default=600.0)
    parser.add_argument("--url", help=f"origin and stage of a stack, whose keys are in {_KEYS_VARIABLE}")
    parser.add_argument("--model", help="owner/name; needed with --url, since its predictions are paid for")
    parser.add_argument("--input", type=json.loads, help="JSON; needed with --url")
    options = parser.parse_args(arguments)
    if options.url and not (options.model and isinstance(options.input, dict)):
        parser.error("--url needs --model and --input, a JSON object: each prediction is paid for")
    return options


def _positive(text: str) -> float:
    value = float(text)
    if not value > 0 or math.isinf(value):
        raise ValueError(text)
    return value


@contextmanager
def _find_target(options: argparse.Namespace, tenants: int) -> Iterator[Target]:
    if options.url:
        keys = [key for key in os.environ.get(_KEYS_VARIABLE, "").split(",") if key]
        if not keys:
            raise LocalError(f"set {_KEYS_VARIABLE} to one or more API keys, separated by commas")
        yield Target(options.url.rstrip("/").removesuffix("/v1"), keys, options.model, options.input)
        return
    with temporary_stack(StackFolder("load"), Screen()) as stack:
        SimulatorClient(url=stack.simulator_url).change_settings(latency=0.3, jitter=0)
        issuer = KeyIssuer(stack.endpoint_url, stack.outputs)
        keys = [issuer.create_key(f"load-{number}", name="load") for number in range(tenants)]
        yield Target(stack.api_url, keys, options.model or _LOCAL_MODEL, options.input or _LOCAL_INPUT)


def _run_locust(settings: LoadSettings, folder: Path) -> None:
    if not _LOCUST.exists():
        raise LocalError("locust is not installed; run `make load`, which installs it")
    prefix = folder / settings.scenario
    command = [*(str(_LOCUST), "-f", str(_LOCUSTFILE), "--headless", "--only-summary")]
    command += ["--csv", str(prefix), "--html", f"{prefix}.html"]
    command += ["--stop-timeout", "60", "--exit-code-on-error", "0"]
    python_path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, VARIABLE: settings.dump(), "PYTHONPATH": python_path}
    if (code := subprocess.run(command, env=environment, check=False).returncode) != 0:
        raise LocalError(f"locust ended with {code}")


def _read_requests(path: Path) -> dict[str, dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return {row["Name"]: row for row in csv.DictReader(file)}


if __name__ == "__main__":
    sys.exit(main())
