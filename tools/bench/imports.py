"""What each handler's import costs in a cold start, against an all-in handler in the same run.

The all-in handler imports what a function would that takes everything from the layer: boto3 with six clients,
pydantic, Powertools, requests, Pillow. Each import happens in a fresh interpreter, handlers interleaved, so
that the machine's moods strike all alike; processor time is measured and the median counts. Clients are made
in both, as they are in Lambda's init.
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
ALL_IN = """
import boto3, pydantic, requests, PIL.Image
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.event_handler import APIGatewayRestResolver
logger, tracer, metrics, app = Logger(), Tracer(), Metrics(), APIGatewayRestResolver()
clients = [boto3.client(name) for name in ("dynamodb", "s3", "sqs", "events", "ssm", "secretsmanager")]
class Model(pydantic.BaseModel):
    name: str
"""
# The share of the all-in handler that each function may take (docs/architecture.md, Performance).
TARGETS = {"ingest": 0.7, "dispatch": 0.7, "query": 0.5, "webhook": 0.5}
# Which clients a handler makes before it can answer its first event.
CLIENTS = {
    "ingest": ("dynamodb", "s3", "sqs"),
    "dispatch": ("dynamodb", "s3", "sqs", "ssm", "secretsmanager"),
    "query": ("dynamodb", "s3"),
    "webhook": ("s3", "events", "ssm", "secretsmanager"),
}


def main() -> int:
    scripts = {"all_in": ALL_IN, **{name: _handler(name) for name in TARGETS}}
    times: dict[str, list[float]] = {name: [] for name in scripts}
    for script in scripts.values():
        _milliseconds(script)  # byte code, which the layer ships, is made here
    for _ in range(ROUNDS):
        for name, script in scripts.items():
            times[name].append(_milliseconds(script))
    all_in = statistics.median(times["all_in"])
    record_result("import.all_in", round(all_in), "ms")
    for name, target in TARGETS.items():
        ratio = statistics.median(times[name]) / all_in
        record_result(f"import.{name}", round(ratio, 3), "x all-in", f"<= {target}", ratio <= target)
    return 0


def _handler(name: str) -> str:
    made = "\n".join(f"client({service!r})" for service in CLIENTS[name])
    imports = "import app\nfrom replicate_proxy.aws.clients import client"
    return f"import sys\nsys.path.insert(0, 'functions/{name}')\n{imports}\n{made}\n"


def _milliseconds(script: str) -> float:
    timed = f"import time\n{script}\nprint(time.process_time() * 1000)"
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT / "layers/common/python"),
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
        "POWERTOOLS_TRACE_DISABLED": "true",
        "POWERTOOLS_SERVICE_NAME": "bench",
    }
    done = subprocess.run(
        [sys.executable, "-c", timed], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    return float(done.stdout.split()[-1])


if __name__ == "__main__":
    sys.exit(main())
