"""Measure what the AWS requests of a thousand image jobs cost: counted on the local stack, times list prices.

Prices are those of us-east-1, November 2026, arm64, without free tier (each service's pricing page). The
durations of functions are those of the local stack, whose processor and AWS have other speeds than real ones.
"""

from __future__ import annotations

import re
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicate_proxy.aws.job_store import DynamoJobStore
from tools.bench.counting_proxy import RequestCounts, run_counting_proxy
from tools.bench.load import LoadGenerator, run_warm_stack
from tools.bench.results import record_result
from tools.local.errors import LocalError
from tools.local.keys import DEMO_TENANT
from tools.local.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tools.local.stack import Stack

JOBS = 20
POLLS_PER_JOB = 3
MAX_DOLLARS_PER_1000_JOBS = 0.08
# The sweep costs the same whatever the load. API Gateway keeps the authorizer's answer for a minute, and the
# local one calls it for each request.
_UNCOUNTED_FUNCTIONS = frozenset({"sweep", "authorize"})
_SERVICES = ("DYNAMODB", "S3", "SQS", "EVENTBRIDGE", "SSM", "SECRETS_MANAGER")
_LOG_EVENT_OVERHEAD_BYTES = 26  # charged for each log event (CloudWatch Logs, PutLogEvents)
_TRACED_SHARE = 0.05
_QUIET_SECONDS = 3.0
_REPORT = re.compile(r"^REPORT RequestId: .*?\tBilled Duration: (\d+) ms\s+Memory Size: (\d+) MB", re.DOTALL)
_PLATFORM_LINE = re.compile(r"^(?:INIT_START|START RequestId:|END RequestId:|REPORT RequestId:)")

# Dollars per request, unit, byte or trace.
PRICES: Mapping[str, float] = {
    "api": 3.50e-6,
    "lambda": 0.20e-6,
    "gb_second": 13.3334e-6,
    "dynamodb_write": 0.625e-6,
    "dynamodb_read": 0.125e-6,
    "sqs": 0.40e-6,
    "events": 1.00e-6,
    "s3_put": 5.00e-6,
    "s3_get": 0.40e-6,
    "log_byte": 0.50e-9,
    "trace": 5.00e-6,
}


@dataclass(slots=True)
class FunctionUsage:
    """What the log group of a function says: invocations, GB-seconds, charged bytes by kind."""

    invocations: int = 0
    gb_seconds: float = 0.0
    platform_bytes: int = 0
    metric_bytes: int = 0
    log_bytes: int = 0

    @property
    def size_bytes(self) -> int:
        return self.platform_bytes + self.metric_bytes + self.log_bytes

    def add(self, message: str) -> None:
        """Count one event of the log."""
        size = len(message.encode()) + _LOG_EVENT_OVERHEAD_BYTES
        if _PLATFORM_LINE.match(message):
            self.platform_bytes += size
        elif '"_aws"' in message:
            self.metric_bytes += size
        else:
            self.log_bytes += size
        if report := _REPORT.match(message):
            self.invocations += 1
            self.gb_seconds += int(report[1]) / 1000 * int(report[2]) / 1024


def main() -> int:
    """Measure and record. Return 0, whether or not the target is met."""
    with (
        run_warm_stack() as generator,
        run_counting_proxy(generator.stack) as (proxy_url, counts),
    ):
        stack = generator.stack
        route_through_proxy(stack, proxy_url, functions=stack.function_names.keys() - _UNCOUNTED_FUNCTIONS)
        jobs = DynamoJobStore(stack.get_client("dynamodb"), stack.outputs["JobsTableName"])
        generator.warm_up()
        _wait_for_quiet(counts)
        counts.clear()
        started_at_ms = int(time.time() * 1000)
        for _ in range(JOBS):
            _run_job(generator, jobs)
        _wait_for_quiet(counts)
        functions = read_function_usage(stack, started_at_ms)
        usage = _calculate_usage(counts, functions)
    for name, function in functions.items():
        print(
            f"{name}: {function.invocations / JOBS:.2f} invocations, {function.gb_seconds / JOBS:.4f} GB-s,"
            f" bytes of logs: {function.platform_bytes // JOBS} Lambda's,"
            f" {function.metric_bytes // JOBS} metrics, {function.log_bytes // JOBS} others"
        )
    for name, amount in usage.items():
        record_result(f"cost.{name}", round(amount / JOBS, 2), "per job")
    dollars = sum(amount * PRICES[name] for name, amount in usage.items()) / JOBS * 1000
    target, met = f"<= {MAX_DOLLARS_PER_1000_JOBS:.2f}", dollars <= MAX_DOLLARS_PER_1000_JOBS
    record_result("cost.per_1000_jobs", round(dollars, 3), "$", target, met)
    return 0


def route_through_proxy(stack: Stack, proxy_url: str, *, functions: Iterable[str]) -> None:
    """Make the functions call AWS through the proxy: endpoint variables of a service have precedence."""
    lambdas = stack.get_client("lambda")
    endpoints = {f"AWS_ENDPOINT_URL_{service}": proxy_url for service in _SERVICES}
    for name in (stack.function_names[function] for function in functions):
        variables = lambdas.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
        lambdas.update_function_configuration(
            FunctionName=name, Environment={"Variables": {**variables, **endpoints}}
        )


def _run_job(generator: LoadGenerator, jobs: DynamoJobStore) -> None:
    """Create a job, and poll it through the API while it runs and once after its end.

    Its end is awaited at the table, past the proxy, so that the number of polls is always the same.
    """
    _, job_id = generator.submit_job()
    for _ in range(POLLS_PER_JOB - 1):
        generator.get_job(job_id)
    wait_for(
        lambda: _is_terminal(jobs, job_id) or None, timeout_seconds=60, description=f"end of job {job_id}"
    )
    if generator.get_job(job_id)["status"] != "succeeded":
        raise LocalError(f"job {job_id} did not succeed")


def _is_terminal(jobs: DynamoJobStore, job_id: str) -> bool:
    job = jobs.get(DEMO_TENANT, job_id)
    return job is not None and job.is_terminal


def _wait_for_quiet(counts: RequestCounts) -> None:
    """Wait until no request comes for a while: requests after a job's end belong to the job."""
    before = -1
    while counts.requests.total() != before:
        before = counts.requests.total()
        time.sleep(_QUIET_SECONDS)


def read_function_usage(stack: Stack, started_at_ms: int) -> Mapping[str, FunctionUsage]:
    """Return the usage of each function that runs for single jobs."""
    paginator = stack.get_client("logs").get_paginator("filter_log_events")
    usage: dict[str, FunctionUsage] = {}
    for short_name, name in sorted(stack.function_names.items()):
        if short_name in _UNCOUNTED_FUNCTIONS:
            continue
        for page in paginator.paginate(logGroupName=f"/aws/lambda/{name}", startTime=started_at_ms):
            for event in page["events"]:
                usage.setdefault(short_name, FunctionUsage()).add(event["message"])
    return usage


def _calculate_usage(counts: RequestCounts, functions: Mapping[str, FunctionUsage]) -> Mapping[str, float]:
    """Return the charged amounts of all jobs, by the names of the prices."""
    requests = counts.requests
    messages = requests["sqs SendMessage"] + counts.events["replicate-proxy.upstream"]
    return {
        "api": JOBS * (1 + POLLS_PER_JOB) + functions["webhook"].invocations,
        "lambda": sum(function.invocations for function in functions.values()),
        "gb_second": sum(function.gb_seconds for function in functions.values()),
        "dynamodb_write": counts.write_units,
        "dynamodb_read": counts.read_units,
        "sqs": 3 * messages,  # each one is sent, received and deleted
        "events": counts.events.total(),
        "s3_put": requests["s3 PUT"] + requests["s3 POST"],
        "s3_get": requests["s3 GET"] + requests["s3 HEAD"],
        "log_byte": sum(function.size_bytes for function in functions.values()),
        "trace": JOBS * _TRACED_SHARE,
    }


if __name__ == "__main__":
    sys.exit(main())
