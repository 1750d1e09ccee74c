"""What a thousand image jobs cost at AWS: requests counted on the local stack, times list prices.

The counts are of this code; prices are those of us-east-1, November 2026, without free tier (each service's
pricing page). Lambda's time is no request and differs between here and AWS: docs/costs.md adds it from stated
durations.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicate_proxy.aws.job_store import DynamoJobStore
from tools.bench.counting import Counts, counting
from tools.bench.driving import WARM_UP, Driver, driving
from tools.bench.results import record_result
from tools.local import waiting
from tools.local.errors import LocalError
from tools.local.keys import DEMO_TENANT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tools.local.stack import Stack

JOBS = 20
POLLS = 3
TARGET_DOLLARS = 0.10
_WEBHOOKS = 2  # Replicate's start and completed
_SERVICES = ("DYNAMODB", "S3", "SQS", "EVENTBRIDGE", "SSM", "SECRETS_MANAGER")
_LOG_FRAME_BYTES = 26  # charged beside each log event (CloudWatch Logs, PutLogEvents)
_TRACED = 0.05
_QUIET_SECONDS = 3.0

# Dollars each.
_PRICES: Mapping[str, float] = {
    "api": 3.50e-6,
    "lambda": 0.20e-6,
    "dynamodb_write": 0.625e-6,
    "dynamodb_read": 0.125e-6,
    "sqs": 0.40e-6,
    "events": 1.00e-6,
    "s3_put": 5.00e-6,
    "s3_get": 0.40e-6,
    "log_byte": 0.50e-9,
    "trace": 5.00e-6,
}


@dataclass(frozen=True)
class _Logged:
    """What the functions wrote to their log groups."""

    invocations: int
    size: int


def main() -> int:
    with driving() as driver, counting(driver.stack.endpoint_url) as (origin, counts):
        _send_through(driver.stack, origin)
        jobs = DynamoJobStore(driver.stack.get_client("dynamodb"), driver.stack.outputs["JobsTableName"])
        for jobs_at_once in WARM_UP:
            driver.burst(jobs_at_once, threads=jobs_at_once)
        _settle(counts)
        counts.clear()
        since = int(time.time() * 1000)
        for _ in range(JOBS):
            _job(driver, jobs)
        _settle(counts)
        used = _used(counts, _logged(driver.stack, since))
    for name, number in used.items():
        record_result(f"cost.{name}", round(number / JOBS, 2), "per job")
    dollars = sum(number * _PRICES[name] for name, number in used.items()) / JOBS * 1000
    record_result(
        "cost.requests_per_1000_jobs",
        round(dollars, 3),
        "$",
        f"<= {TARGET_DOLLARS:.2f}",
        dollars <= TARGET_DOLLARS,
    )
    return 0


def _send_through(stack: Stack, origin: str) -> None:
    """The functions' calls take the way that counts: a service's own variable wins over the general one."""
    lambdas = stack.get_client("lambda")
    for name in stack.function_names.values():
        variables = lambdas.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
        ways = {f"AWS_ENDPOINT_URL_{service}": origin for service in _SERVICES}
        lambdas.update_function_configuration(
            FunctionName=name, Environment={"Variables": {**variables, **ways}}
        )


def _job(driver: Driver, jobs: DynamoJobStore) -> None:
    """Created, polled while it runs, and once more when it is over; in between the table is asked."""
    _, job_id = driver.submit()
    for _ in range(POLLS - 1):
        driver.look(job_id)
    waiting.wait_for(lambda: _ended(jobs, job_id), timeout_seconds=60, description=f"end of job {job_id}")
    if driver.look(job_id)["status"] != "succeeded":
        raise LocalError(f"job {job_id} did not succeed")


def _ended(jobs: DynamoJobStore, job_id: str) -> bool | None:
    job = jobs.get(DEMO_TENANT, job_id)
    return True if job is not None and job.is_terminal else None


def _settle(counts: Counts) -> None:
    """Until no call has passed for a while: what follows a job's end belongs to it."""
    before = -1
    while counts.requests.total() != before:
        before = counts.requests.total()
        time.sleep(_QUIET_SECONDS)


def _logged(stack: Stack, since: int) -> _Logged:
    """Of all functions but the sweep, whose passes cost the same whatever the load."""
    pages = stack.get_client("logs").get_paginator("filter_log_events")
    messages = [
        event["message"]
        for short, name in stack.function_names.items()
        if short != "sweep"
        for page in pages.paginate(logGroupName=f"/aws/lambda/{name}", startTime=since)
        for event in page["events"]
    ]
    return _Logged(
        invocations=sum(message.startswith("START RequestId") for message in messages),
        size=sum(len(message.encode()) + _LOG_FRAME_BYTES for message in messages),
    )


def _used(counts: Counts, logged: _Logged) -> Mapping[str, float]:
    asked = counts.requests
    sent = asked["sqs SendMessage"] + counts.events["replicate-proxy.upstream"]
    puts = asked["s3 PUT"] + asked["s3 POST"]
    return {
        "api": JOBS * (1 + POLLS + _WEBHOOKS),
        "lambda": logged.invocations,
        "dynamodb_write": counts.write_units,
        "dynamodb_read": counts.read_units,
        "sqs": 3 * sent,  # each is sent, received and deleted
        "events": counts.events.total(),
        "s3_put": puts,
        "s3_get": asked["s3 GET"] + asked["s3 HEAD"],
        "log_byte": logged.size,
        "trace": JOBS * _TRACED,
    }
