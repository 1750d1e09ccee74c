"""A process that ends at any call: each job is acted on once, and the counts are exact."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from replicate_proxy.aws.audit_store import DynamoAuditStore
from replicate_proxy.jobs.model import Job, JobStatus
from replicate_proxy.operations.bulk import worker
from tests.support.admin_api import AdminApi
from tests.support.aws import AUDIT_TABLE, create_in_memory_aws
from tests.support.builders import make_job
from tests.support.clock import NOW
from tests.support.crashes import CrashPoint, SimulatedCrashError

if TYPE_CHECKING:
    from typing import Any

START = NOW + timedelta(hours=1)
JOB_COUNT = 3
EFFECTS = pytest.mark.parametrize("has_effect", [False, True], ids=["before", "after"])


def build_api(point: CrashPoint) -> AdminApi:
    """Return the admin API on the parts that crash."""
    aws = create_in_memory_aws()
    api = AdminApi(
        dynamodb=point.wrap(aws.client("dynamodb")),
        audit_store=DynamoAuditStore(point.wrap(aws.client("dynamodb")), AUDIT_TABLE),
    )
    api.commands = point.wrap(api.commands)
    api.documents = point.wrap(api.documents)
    api.worker_starter = point.wrap(api.worker_starter)
    api.clock.set(START)
    return api


def add_jobs(api: AdminApi, status: JobStatus) -> list[Job]:
    jobs = [make_job(status, created_at=NOW + timedelta(seconds=number)) for number in range(JOB_COUNT)]
    for job in jobs:
        api.jobs.create(job)
    return jobs


def start(api: AdminApi, action: str) -> dict[str, Any]:
    body = {"action": action, "filter": {"tenant": "acme"}, "expected_count": JOB_COUNT}
    response: dict[str, Any] = api.call("POST", "bulk-operations", body, idempotency_key="start")[1]
    return response


def run_worker(api: AdminApi) -> None:
    now = api.clock.now()
    api.bulk_worker.run(now + timedelta(seconds=20), lease_until=now + timedelta(seconds=29))


def count_calls(action: str, status: JobStatus) -> tuple[int, int]:
    """Return the calls of a start, and of the worker after it."""
    point = CrashPoint()
    api = build_api(point)
    add_jobs(api, status)
    before = len(point.calls)
    start(api, action)
    started = len(point.calls)
    run_worker(api)
    return started - before, len(point.calls) - started


def require_end(api: AdminApi, operation_id: str) -> None:
    operation = api.call("GET", f"bulk-operations/{operation_id}")[1]
    assert operation["status"] == "succeeded"
    assert (operation["matched"], operation["done"]) == (JOB_COUNT, JOB_COUNT)
    assert operation["failures"] == operation["skips"] == []


@EFFECTS
@pytest.mark.parametrize(("action", "status"), [("retry", JobStatus.FAILED), ("cancel", JobStatus.QUEUED)])
def test_worker_acts_once_on_each_job(
    action: str, status: JobStatus, *, has_effect: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "SLICE_SIZE", 2)
    _, count = count_calls(action, status)
    assert count > JOB_COUNT * 10
    for number in range(count):
        point = CrashPoint(has_effect=has_effect)
        api = build_api(point)
        jobs = add_jobs(api, status)
        operation = start(api, action)
        point.at = len(point.calls) + number

        with pytest.raises(SimulatedCrashError):
            run_worker(api)
        # The lease of the worker ends, and the intent of its change is closed.
        api.clock.advance(minutes=3)
        run_worker(api)

        require_end(api, operation["id"])
        all_jobs = api.call("GET", "jobs", tenant="acme")[1]["results"]
        if action == "retry":
            assert len(all_jobs) == 2 * JOB_COUNT
            assert {job["retried_from"] for job in all_jobs} == {None, *(job.id for job in jobs)}
        else:
            assert [job["status"] for job in all_jobs] == ["canceled"] * JOB_COUNT
        records = api.call("GET", "audit", action=f"job.{action}")[1]["results"]
        # At most the slice that crashed is recorded twice.
        assert JOB_COUNT <= len(records) <= JOB_COUNT + 2
        assert api.call("GET", "audit/verification")[1]["valid"]


@EFFECTS
def test_repeated_start_leads_to_one_operation(*, has_effect: bool) -> None:
    count, _ = count_calls("retry", JobStatus.FAILED)
    for number in range(count):
        point = CrashPoint(has_effect=has_effect)
        api = build_api(point)
        jobs = add_jobs(api, JobStatus.FAILED)
        point.at = len(point.calls) + number

        with suppress(SimulatedCrashError):
            start(api, "retry")
        assert point.at < len(point.calls)
        operation = start(api, "retry")
        run_worker(api)

        require_end(api, operation["id"])
        assert len(api.call("GET", "bulk-operations")[1]["results"]) == 1
        assert len(api.call("GET", "jobs", tenant="acme")[1]["results"]) == 2 * len(jobs)
