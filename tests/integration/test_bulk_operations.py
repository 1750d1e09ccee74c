"""Bulk operations on the deployed stack: a worker that crashes, exact counts, and a cancel of what waits."""

from __future__ import annotations

import secrets
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from replicate_proxy.jobs.model import JobStatus
from tests.integration.api_client import ApiClient
from tests.integration.conftest import FOLDER
from tools.local.faults import inject_faults
from tools.local.paths import ROOT
from tools.local.stored_jobs import store_finished_jobs
from tools.local.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tools.local.stack import Stack

JOB_COUNT = 60
OPERATIONS = "/admin/bulk-operations"
# The worker ends after each slice, before its progress is saved.
CRASHES = {"admin.bulk_slice_done": 1.0}
CONTINUE = (ROOT / "events/admin/continue_bulk_operations.json").read_bytes()


@contextmanager
def paused(operator: ApiClient, tenant: str) -> Iterator[None]:
    """Hold the predictions of a tenant in the queue."""
    operator.call("POST", "/admin/pause", {"tenant": tenant, "mode": "hold"})
    # Dispatch remembers for five seconds that there was no pause.
    time.sleep(5.5)
    try:
        yield
    finally:
        operator.call("POST", "/admin/resume", {"tenant": tenant})


def start(operator: ApiClient, action: str, **job_filter: Any) -> str:
    preview = operator.call("POST", OPERATIONS, {"action": action, "filter": job_filter}).json()
    body = {"action": action, "filter": preview["filter"], "expected_count": preview["matched"]}
    response = operator.call("POST", OPERATIONS, body)
    assert response.status_code == 202, response.text
    return str(response.json()["id"])


def wait_for_end(stack: Stack, operator: ApiClient, operation_id: str) -> dict[str, Any]:
    """Have the worker run until the operation has ended."""
    function = stack.outputs["AdminFunctionName"]

    def find_ended() -> dict[str, Any] | None:
        operation: dict[str, Any] = operator.call("GET", f"{OPERATIONS}/{operation_id}").json()
        if operation["status"] != "running":
            return operation
        stack.get_client("lambda").invoke(FunctionName=function, Payload=CONTINUE)
        return None

    return wait_for(find_ended, timeout_seconds=180, description="the end of the operation")


def list_jobs(operator: ApiClient, tenant: str, status: str) -> list[dict[str, Any]]:
    response = operator.call("GET", f"/admin/jobs?tenant={tenant}&status={status}&limit=100")
    results: list[dict[str, Any]] = response.json()["results"]
    return results


@pytest.mark.slow
def test_worker_that_crashes_retries_each_prediction_once(
    stack: Stack, operator: ApiClient, tmp_path: Path
) -> None:
    tenant = f"tenant-{secrets.token_hex(4)}"
    failed = store_finished_jobs(stack, tenant, JOB_COUNT, JobStatus.FAILED)
    log = tmp_path / "faults.jsonl"
    with paused(operator, tenant):
        with inject_faults(FOLDER, log, crash=CRASHES):
            retry_id = start(operator, "retry", tenant=tenant)
            wait_for(lambda: log.exists() or None, timeout_seconds=90, description="the crash")
        retried = wait_for_end(stack, operator, retry_id)
        retries = list_jobs(operator, tenant, "queued")
        canceled = wait_for_end(stack, operator, start(operator, "cancel", tenant=tenant))

    assert (retried["status"], retried["matched"], retried["done"]) == ("succeeded", JOB_COUNT, JOB_COUNT)
    assert (retried["failures"], retried["skips"]) == ([], [])
    assert sorted(job["retried_from"] for job in retries) == sorted(failed)
    # Each was acted on, those of the slice that crashed twice.
    records = operator.call("GET", f"/admin/audit?tenant={tenant}&action=job.retry&limit=100").json()[
        "results"
    ]
    assert JOB_COUNT < len(records) <= JOB_COUNT + 20
    assert {record["parameters"]["bulk_operation"] for record in records} == {retry_id}
    assert (canceled["status"], canceled["done"]) == ("succeeded", JOB_COUNT)
    assert len(list_jobs(operator, tenant, "canceled")) == JOB_COUNT


def test_requests_that_cannot_be_meant_start_nothing(
    make_api: Callable[[], ApiClient], operator: ApiClient
) -> None:
    api = make_api()
    body = {"action": "retry", "filter": {"tenant": api.tenant}}

    assert api.call("POST", OPERATIONS, body).status_code == 403
    assert operator.call("POST", OPERATIONS, {**body, "filter": {}}).status_code == 422
    assert operator.call("POST", OPERATIONS, {**body, "action": "explode"}).status_code == 422
    assert operator.call("POST", OPERATIONS, {**body, "expected_count": 7}).status_code == 409
    assert operator.call("POST", OPERATIONS, body).json()["matched"] == 0
