"""Measure the console with many stored predictions: the time and the size of each page when warm.

The time is the duration of the function, as Lambda reports it. Most of it is that of the emulated AWS, which
answers one request after the other and reads all records of a partition for a page of it: so the time without
these answers is reported beside it. The size is what a first visit transfers: the page, its style and its
script, as they are sent.
"""

from __future__ import annotations

import re
import sys
import time
from typing import TYPE_CHECKING, Any

import requests

from replicate_proxy.jobs.model import JobStatus
from tools.bench.costs import route_through_proxy
from tools.bench.counting_proxy import run_counting_proxy
from tools.bench.load import calculate_quantile
from tools.bench.results import record_result
from tools.local.errors import LocalError
from tools.local.keys import KeyIssuer
from tools.local.lifecycle import temporary_stack
from tools.local.paths import StackFolder
from tools.local.screen import Screen
from tools.local.stored_jobs import store_finished_jobs
from tools.local.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tools.local.stack import Stack

STORED_JOBS = 10_000
BATCH_SIZE = 50
REQUESTS = 5
MAX_MILLISECONDS = 300
MAX_BYTES = 150_000
_TENANT = "console-bench"
_TIMEOUT_SECONDS = 60
PAGES: Mapping[str, str] = {
    "overview": "",
    "predictions": "/predictions",
    "predictions_of_tenant": f"/predictions?tenant={_TENANT}&status=succeeded",
    "batches": "/batches",
    "bulk_operations": "/bulk-operations",
    "new_bulk_operation": f"/bulk-operations/new?tenant={_TENANT}",
    "chosen_bulk_operation": f"/bulk-operations/new?tenant={_TENANT}&action=delete",
    "deliveries": f"/deliveries?tenant={_TENANT}",
    "usage": "/usage",
    "queues": "/dead-letters",
    "dead_letters": "/dead-letters/track",
    "replays": "/replays",
    "limits": "/concurrency",
    "models": "/models",
    "tenants": "/tenants",
    "tenant": f"/tenants/{_TENANT}",
    "audit": "/audit?verify=true",
}
# What a page loads after it.
COUNT = f"{PAGES['chosen_bulk_operation']}&count=true"
_REPORT = re.compile(r"^REPORT RequestId: (\S+)\s+Duration: ([\d.]+) ms")
_STATIC_FILE = re.compile(r'(?:src|href)="([^"]*/static/[^"]+)"')


class ConsoleSession:
    """An operator's session, and the log of the function that answers it."""

    def __init__(self, stack: Stack) -> None:
        self._url = f"{stack.api_url}/console"
        self._logs = stack.get_client("logs")
        self._log_group = f"/aws/lambda/{stack.function_names['console']}"
        self._session = requests.Session()
        origin = re.sub(r"^(https?://[^/]+).*", r"\1", self._url)
        response = self._session.post(
            f"{self._url}/sign-in",
            data={"key": stack.admin_key, "next": ""},
            headers={"origin": origin},
            allow_redirects=False,
            timeout=_TIMEOUT_SECONDS,
        )
        if response.status_code != 303:
            raise LocalError(f"the sign-in to the console was answered with {response.status_code}")

    def load(self, path: str) -> requests.Response:
        """Load a page. Raises LocalError if it is not there, or is that of the sign-in."""
        response = self._session.get(f"{self._url}{path}", timeout=_TIMEOUT_SECONDS)
        if response.status_code != 200 or "/sign-in" in response.url:
            raise LocalError(f"{path or '/'} was answered with {response.status_code}")
        return response

    def measure_milliseconds(self, path: str) -> float:
        """Return the median duration of the function for a page that was loaded before."""
        self.load(path)
        started_at_ms = int(time.time() * 1000)
        known = set(self._read_durations(started_at_ms))
        for _ in range(REQUESTS):
            self.load(path)

        def find_durations() -> Sequence[float] | None:
            durations = self._read_durations(started_at_ms)
            found = [duration for request_id, duration in durations.items() if request_id not in known]
            return found if len(found) >= REQUESTS else None

        found = wait_for(find_durations, timeout_seconds=30, description="the log of the console")
        return calculate_quantile(found, 0.5)

    def measure_bytes(self, path: str) -> int:
        """Return the bytes that a first visit of a page transfers, without images of outputs."""
        page = self.load(path)
        size = _count_bytes(page)
        for url in set(_STATIC_FILE.findall(page.text)):
            target = requests.compat.urljoin(page.url, url)
            size += _count_bytes(self._session.get(target, timeout=_TIMEOUT_SECONDS))
        return size

    def _read_durations(self, started_at_ms: int) -> Mapping[str, float]:
        """Return the durations in milliseconds since then, by request."""
        paginator = self._logs.get_paginator("filter_log_events")
        pages = paginator.paginate(logGroupName=self._log_group, startTime=started_at_ms)
        reports = (_REPORT.match(event["message"]) for page in pages for event in page["events"])
        return {report[1]: float(report[2]) for report in reports if report}


def main() -> int:
    """Measure and record. Return 0, whether or not the targets are met."""
    with temporary_stack(StackFolder("bench"), Screen(), {}) as stack:
        paths = {**PAGES, **_create_content(stack)}
        newest = store_finished_jobs(stack, _TENANT, STORED_JOBS)[0]
        paths["prediction"] = f"/predictions/{_TENANT}/{newest}"
        session = ConsoleSession(stack)
        for name, path in paths.items():
            milliseconds, size = session.measure_milliseconds(path), session.measure_bytes(path)
            target, met = f"<= {MAX_MILLISECONDS}", milliseconds <= MAX_MILLISECONDS
            record_result(f"console.{name}.p50", round(milliseconds, 1), "ms", target, met)
            record_result(f"console.{name}.size", size, "bytes", f"<= {MAX_BYTES}", size <= MAX_BYTES)
        record_result("console.bulk_operation_count.p50", round(session.measure_milliseconds(COUNT), 1), "ms")
        _measure_without_aws(stack, session, paths)
    return 0


def _measure_without_aws(stack: Stack, session: ConsoleSession, paths: Mapping[str, str]) -> None:
    """Measure the pages again, and take off the time in which the function waits for AWS.

    What the proxy itself takes stays, so that these times are too high.
    """
    with run_counting_proxy(stack) as (proxy_url, counts):
        route_through_proxy(stack, proxy_url, functions=("console",))
        for name, path in paths.items():
            session.load(path)
            counts.clear()
            milliseconds = session.measure_milliseconds(path)
            waited = counts.sum_waits() / (REQUESTS + 1) * 1000
            record_result(f"console.{name}.without_aws", round(max(0.0, milliseconds - waited), 1), "ms")


def _create_content(stack: Stack) -> Mapping[str, str]:
    """Create what has a page of its own, and return the paths of these pages."""
    key = KeyIssuer(stack.endpoint_url, stack.outputs).create_key(_TENANT, name="benchmark")

    def call(
        method: str, path: str, body: Mapping[str, Any] | None, credential: str = stack.admin_key
    ) -> Any:
        headers = {"authorization": f"Bearer {credential}"}
        url = f"{stack.api_url}{path}"
        response = requests.request(method, url, json=body, headers=headers, timeout=_TIMEOUT_SECONDS)
        response.raise_for_status()
        return response.json()

    prediction = {"version": "local/lab", "input": {"output": "done"}}
    endpoint = call("POST", "/v1/webhooks/endpoints", {"url": "http://127.0.0.1:9/hook"}, key)["id"]
    endpoint_path = f"/v1/webhooks/endpoints/{endpoint}"
    batch = call("POST", "/v1/batches", {"predictions": [prediction] * BATCH_SIZE}, key)["id"]

    def has_deliveries() -> bool:
        return len(call("GET", f"{endpoint_path}/deliveries", None, key)["results"]) >= BATCH_SIZE

    wait_for(has_deliveries, timeout_seconds=120, description="deliveries of the batch")
    # Else the webhooks of all predictions that are stored later would be sent while pages are measured.
    call("PATCH", endpoint_path, {"enabled": False}, key)
    call("PUT", "/admin/models/console/fast", {"target": "black-forest-labs/flux-schnell"})
    store_finished_jobs(stack, _TENANT, 1, JobStatus.FAILED)
    retry = {"action": "retry", "filter": {"tenant": _TENANT}, "expected_count": 1}
    operation = call("POST", "/admin/bulk-operations", retry)["id"]
    return {
        "batch": f"/batches/{_TENANT}/{batch}",
        "endpoint": f"/endpoints/{_TENANT}/{endpoint}",
        "model": "/models/console/fast",
        "bulk_operation": f"/bulk-operations/{operation}",
    }


def _count_bytes(response: requests.Response) -> int:
    """Return the size of a body as it was sent, compressed or not."""
    response.raise_for_status()
    return int(response.headers["content-length"])


if __name__ == "__main__":
    sys.exit(main())
