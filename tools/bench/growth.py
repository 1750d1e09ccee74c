"""Count what requests cost among 100, 1,000 and 10,000 stored predictions: AWS requests and DynamoDB units.

What is counted passes a proxy in front of the emulated AWS, so the numbers do not depend on the machine. The
functions that the requests start later are not routed through it. Read units are an upper bound.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import requests

from replicate_proxy.jobs.model import JobStatus
from tools.bench.costs import route_through_proxy
from tools.bench.counting_proxy import RequestCounts, run_counting_proxy
from tools.bench.results import record_result
from tools.local.errors import LocalError
from tools.local.keys import KeyIssuer
from tools.local.lifecycle import temporary_stack
from tools.local.paths import StackFolder
from tools.local.screen import Screen
from tools.local.stored_jobs import store_finished_jobs
from tools.local.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tools.local.stack import Stack

STORED_JOBS = (100, 1_000, 10_000)
# One pass of the sweep, as on AWS; that of local stacks polls Replicate for most of a minute.
_PARAMETERS = {"SweepDurationSeconds": "0"}
_TENANT = "growth"
_TIMEOUT_SECONDS = 60
_MAX_SKIPPED_SECONDS = 90
# A page with a filter looks at up to 1,000 predictions, so it costs more among as many as among 100.
_MAX_PAGE_REQUESTS = 20
LISTS: Mapping[str, str] = {
    "list": "",
    "list_by_time": "created_before=2100-01-01T00:00:00Z",
    "list_by_status": "status=succeeded",
    "list_by_rare_status": "status=canceled",
    "list_by_model": "model=local/lab",
    "list_by_metadata": "metadata.order=42",
    "list_by_batch": "batch={batch}",
}


class GrowthMeter:
    """Sends requests of one tenant, and counts those to AWS that they lead to."""

    def __init__(self, stack: Stack, api: RequestCounts, sweep: RequestCounts) -> None:
        self._stack = stack
        self._api, self._sweep = api, sweep
        key = KeyIssuer(stack.endpoint_url, stack.outputs).create_key(_TENANT, name="benchmark")
        self._headers = {"authorization": f"Bearer {key}"}
        self._batch_id = ""

    def prepare(self) -> None:
        """Start the functions, so that no reads of a cold start are counted, and create a batch."""
        entries = [{"version": "local/lab", "input": {"output": "done"}}] * 3
        self._batch_id = self._call("POST", "/v1/batches", {"predictions": entries}).json()["id"]
        self._call("GET", "/v1/predictions")
        self.run_sweep()

    def measure(self) -> dict[str, tuple[int, float, int]]:
        """Return the AWS requests, read units and write units of each operation."""
        created = self._call("POST", "/v1/predictions", _CREATE_BODY).json()["id"]
        self._wait_for_end(created)
        stored_id = store_finished_jobs(self._stack, _TENANT, 1)[0]
        measured = {
            "create": self._count(lambda: self._call("POST", "/v1/predictions", _CREATE_BODY)),
            "get": self._count(lambda: self._call("GET", f"/v1/predictions/{created}")),
        }
        for name, query in LISTS.items():
            path = f"/v1/predictions?{query.format(batch=self._batch_id)}"
            measured[name] = self._count(partial(self._call, "GET", path))
        measured["delete"] = self._count(lambda: self._call("DELETE", f"/v1/predictions/{stored_id}"))
        measured["sweep_with_deletion"] = self.run_sweep()
        measured["sweep"] = self.run_sweep()
        return measured

    def run_sweep(self) -> tuple[int, float, int]:
        """Run a pass of the sweep, and return what it has read and written."""
        function = self._stack.function_names["sweep"]
        deadline = time.monotonic() + _MAX_SKIPPED_SECONDS
        while time.monotonic() < deadline:
            self._sweep.clear()
            response = self._stack.get_client("lambda").invoke(FunctionName=function, Payload=b"{}")
            if not json.loads(response["Payload"].read()).get("skipped"):
                return _sum(self._sweep)
            time.sleep(1)
        raise LocalError("another sweep did not end")

    def _count(self, call: Callable[[], object]) -> tuple[int, float, int]:
        self._api.clear()
        call()
        return _sum(self._api)

    def _wait_for_end(self, prediction_id: str) -> None:
        path = f"/v1/predictions/{prediction_id}"
        wait_for(
            lambda: self._call("GET", path).json()["status"] == "succeeded" or None,
            timeout_seconds=_TIMEOUT_SECONDS,
            description=f"end of {prediction_id}",
        )

    def _call(self, method: str, path: str, body: Any = None) -> requests.Response:
        response = requests.request(
            method,
            f"{self._stack.api_url}{path}",
            json=body,
            headers=self._headers,
            timeout=_TIMEOUT_SECONDS,
        )
        response.raise_for_status()
        return response


_CREATE_BODY = {"version": "local/lab", "input": {"output": "done"}}


def main() -> int:
    """Measure and record. Return 0, whether or not the targets are met."""
    with ExitStack() as context:
        stack = context.enter_context(temporary_stack(StackFolder("bench"), Screen(), _PARAMETERS))
        api_proxy, api = context.enter_context(run_counting_proxy(stack))
        sweep_proxy, sweep = context.enter_context(run_counting_proxy(stack))
        route_through_proxy(stack, api_proxy, functions=("ingest", "query"))
        route_through_proxy(stack, sweep_proxy, functions=("sweep",))
        meter = GrowthMeter(stack, api, sweep)
        meter.prepare()
        before = 0
        for stored in STORED_JOBS:
            store_finished_jobs(stack, _TENANT, (stored - before) // 100, JobStatus.FAILED)
            store_finished_jobs(stack, _TENANT, stored - before - (stored - before) // 100)
            before = stored
            for name, (request_count, read_units, write_units) in meter.measure().items():
                target, met = "", None
                if name in LISTS:
                    target, met = f"<= {_MAX_PAGE_REQUESTS}", request_count <= _MAX_PAGE_REQUESTS
                record_result(f"growth.{stored}.{name}.requests", request_count, "requests", target, met)
                record_result(f"growth.{stored}.{name}.reads", read_units, "units")
                record_result(f"growth.{stored}.{name}.writes", write_units, "units")
    return 0


def _sum(counts: RequestCounts) -> tuple[int, float, int]:
    return counts.requests.total(), counts.read_units, counts.write_units


if __name__ == "__main__":
    sys.exit(main())
