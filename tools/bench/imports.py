"""Measure what each handler's imports cost in a cold start, relative to an all-in handler.

What is imported is what `sam build` made: the layer and the function's folder, as they are deployed, with the
boto3 of the development environment in the place of the runtime's. The all-in handler imports what a function
would that uses everything in the layer: boto3 with six clients, pydantic, Powertools, requests, Pillow.

Each import runs in a new interpreter, and the handlers take turns, so that other load on the machine affects
all of them alike. The result is the median of the processor time. Clients are created in every handler, as
they are before it can handle its first event. Where an import spends its time is from `python -X importtime`,
which itself takes time, so the shares of packages are estimates.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING

from tools.bench.results import record_result
from tools.local.build import build_template
from tools.local.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

ROUNDS = 9
_LISTED_PACKAGES = 6
ALL_IN = "all_in"
ALL_IN_SCRIPT = """
import boto3, pydantic, requests, PIL.Image
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.event_handler import APIGatewayRestResolver
logger, tracer, metrics, app = Logger(), Tracer(), Metrics(), APIGatewayRestResolver()
clients = [boto3.client(name) for name in ("dynamodb", "s3", "sqs", "events", "ssm", "secretsmanager")]
class Model(pydantic.BaseModel):
    name: str
"""
# The share of the all-in handler that each function may take (docs/performance.md).
TARGET_SHARES: Mapping[str, float] = {
    "ingest": 0.6,
    "dispatch": 0.6,
    "query": 0.45,
    "webhook": 0.45,
    "authorize": 0.45,
}
# The clients that a function has created when it has handled the first event of its usual kind.
CLIENTS: Mapping[str, tuple[str, ...]] = {
    "admin": ("dynamodb", "sqs", "ssm", "events", "lambda", "apigateway", "cloudwatch", "s3"),
    "authorize": ("dynamodb", "secretsmanager"),
    "batch": ("dynamodb", "sqs", "events", "s3"),
    "catalog": ("dynamodb", "ssm"),
    "console": ("dynamodb", "sqs", "ssm", "events", "lambda", "apigateway", "cloudwatch", "s3"),
    "deliver": ("dynamodb", "sqs", "events"),
    "dispatch": ("dynamodb", "sqs", "events", "ssm", "secretsmanager"),
    "endpoints": ("dynamodb", "sqs"),
    "files": ("dynamodb", "s3", "secretsmanager"),
    "harvest": ("dynamodb", "sqs", "s3", "secretsmanager"),
    "ingest": ("dynamodb", "sqs", "events"),
    "notify": ("dynamodb", "sqs", "events"),
    "query": ("dynamodb", "sqs"),
    "sweep": ("dynamodb", "sqs", "events", "s3", "secretsmanager"),
    "track": ("dynamodb", "sqs"),
    "usage": ("dynamodb",),
    "webhook": ("events", "ssm", "secretsmanager"),
}
_PACKAGE_TIME = re.compile(r"import time:\s+(?P<self>\d+) \|\s+\d+ \|\s+(?P<module>\S+)")


def main() -> int:
    """Measure and record. Return 0, whether or not the targets are met."""
    artifacts = build_template().parent
    milliseconds = measure_milliseconds(artifacts, (ALL_IN, *CLIENTS), rounds=ROUNDS)
    all_in = statistics.median(milliseconds[ALL_IN])
    record_result("import.all_in", round(all_in), "ms")
    for function in CLIENTS:
        share = statistics.median(milliseconds[function]) / all_in
        target = TARGET_SHARES.get(function)
        record_result(
            f"import.{function}",
            round(share, 3),
            "x all-in",
            "" if target is None else f"<= {target}",
            None if target is None else share <= target,
        )
        packages = measure_packages(artifacts, function)[:_LISTED_PACKAGES]
        print("    " + ", ".join(f"{name} {share:.0%}" for name, share in packages))
    return 0


def measure_milliseconds(artifacts: Path, functions: Iterable[str], *, rounds: int) -> dict[str, list[float]]:
    """Return the processor times of cold imports, by function or `ALL_IN`."""
    milliseconds: dict[str, list[float]] = {function: [] for function in functions}
    for _ in range(rounds):
        for function, times in milliseconds.items():
            times.append(float(_run(artifacts, function).stdout.split()[-1]))
    return milliseconds


def measure_packages(artifacts: Path, function: str) -> list[tuple[str, float]]:
    """Return which share of the import each top-level package takes, the largest first."""
    microseconds: Counter[str] = Counter()
    for match in _PACKAGE_TIME.finditer(_run(artifacts, function, "-X", "importtime").stderr):
        microseconds[match["module"].partition(".")[0]] += int(match["self"])
    return [(name, value / microseconds.total()) for name, value in microseconds.most_common()]


def _build_script(function: str) -> str:
    if function == ALL_IN:
        return ALL_IN_SCRIPT
    clients = "\n".join(f"get_client({service!r})" for service in CLIENTS[function])
    return f"import app\nfrom replicate_proxy.aws.clients import get_client\n{clients}\n"


def _run(artifacts: Path, function: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Import in a new interpreter, which prints its processor time in milliseconds."""
    # Pillow is in the harvest function only.
    folder = artifacts / f"{'Harvest' if function == ALL_IN else function.capitalize()}Function"
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{folder}{os.pathsep}{artifacts / 'CommonLayer/python'}",
        "PYTHONDONTWRITEBYTECODE": "1",  # as on Lambda, where the folders are not writable
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
        "POWERTOOLS_TRACE_DISABLED": "true",
        "POWERTOOLS_SERVICE_NAME": "bench",
    }
    script = f"import time\n{_build_script(function)}\nprint(time.process_time() * 1000)"
    return subprocess.run(
        [sys.executable, *options, "-c", script],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )


if __name__ == "__main__":
    sys.exit(main())
