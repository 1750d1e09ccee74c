"""Measure what each handler's imports cost in a cold start, relative to an all-in handler.

The all-in handler imports what a function would that uses everything in the layer: boto3 with six clients,
pydantic, Powertools, requests, Pillow. Each import runs in a new interpreter, and the handlers take turns, so
that other load on the machine affects all of them alike. The result is the median of the processor time.
Clients are created in every handler, as they are in Lambda's init phase.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path

from tools.bench.results import record_result

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 9
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
TARGET_SHARES = {"ingest": 0.6, "dispatch": 0.6, "query": 0.45, "webhook": 0.45, "authorize": 0.45}
# The clients that a handler creates before it can handle its first event.
CLIENTS = {
    "ingest": ("dynamodb", "sqs"),
    "dispatch": ("dynamodb", "sqs", "ssm", "secretsmanager"),
    "query": ("dynamodb",),
    "webhook": ("events", "ssm", "secretsmanager"),
    "authorize": ("dynamodb", "secretsmanager"),
}


def main() -> int:
    """Measure and record. Return 0, whether or not the targets are met."""
    scripts = {"all_in": ALL_IN_SCRIPT, **{name: _build_handler_script(name) for name in TARGET_SHARES}}
    milliseconds: dict[str, list[float]] = {name: [] for name in scripts}
    for script in scripts.values():
        _measure_milliseconds(script)  # compiles the byte code, which the layer contains on AWS
    for _ in range(ROUNDS):
        for name, script in scripts.items():
            milliseconds[name].append(_measure_milliseconds(script))
    all_in = statistics.median(milliseconds["all_in"])
    record_result("import.all_in", round(all_in), "ms")
    for name, target in TARGET_SHARES.items():
        share = statistics.median(milliseconds[name]) / all_in
        record_result(f"import.{name}", round(share, 3), "x all-in", f"<= {target}", share <= target)
    return 0


def _build_handler_script(name: str) -> str:
    clients = "\n".join(f"get_client({service!r})" for service in CLIENTS[name])
    imports = "import app\nfrom replicate_proxy.aws.clients import get_client"
    return f"import sys\nsys.path.insert(0, 'functions/{name}')\n{imports}\n{clients}\n"


def _measure_milliseconds(script: str) -> float:
    """Return the processor time of the script in a new interpreter."""
    timed_script = f"import time\n{script}\nprint(time.process_time() * 1000)"
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT / "layers/common/python"),
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
        "POWERTOOLS_TRACE_DISABLED": "true",
        "POWERTOOLS_SERVICE_NAME": "bench",
    }
    command = [sys.executable, "-c", timed_script]
    finished = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return float(finished.stdout.split()[-1])


if __name__ == "__main__":
    sys.exit(main())
