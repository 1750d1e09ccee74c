"""Bulk operations through the admin API, and what the worker does to their jobs."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from replicate_proxy.aws.budget_store import DynamoBudgetStore
from replicate_proxy.budgets.model import BudgetLimits, BudgetOwner
from replicate_proxy.errors import ApiError, RetryableError
from replicate_proxy.jobs.model import Document, EndReason, Job, JobStatus
from replicate_proxy.operations.bulk.model import MAX_SAMPLES_PER_REASON
from tests.support.admin_api import AdminApi
from tests.support.aws import USAGE_TABLE
from tests.support.builders import make_job
from tests.support.clock import NOW
from tests.support.webhook_builders import make_delivery

if TYPE_CHECKING:
    from replicate_proxy.operations.bulk.model import BulkOperation

S = JobStatus
START = NOW + timedelta(hours=1)


@pytest.fixture
def api() -> AdminApi:
    api = AdminApi()
    api.clock.set(START)
    return api


def add_jobs(api: AdminApi, count: int, status: JobStatus = S.FAILED, **fields: Any) -> list[Job]:
    times = [NOW + timedelta(seconds=number) for number in range(count)]
    jobs = [make_job(status, **{"created_at": moment, **fields}) for moment in times]
    for job in jobs:
        api.jobs.create(job)
    return jobs


def start(api: AdminApi, action: str, expected_count: int | None, **job_filter: Any) -> tuple[int, Any]:
    body = {"action": action, "filter": job_filter, "expected_count": expected_count}
    return api.call("POST", "bulk-operations", body)


def run_worker(api: AdminApi, seconds: float = 20) -> int:
    now = api.clock.now()
    return api.bulk_worker.run(now + timedelta(seconds=seconds), lease_until=now + timedelta(seconds=29))


def read(api: AdminApi, operation_id: str) -> dict[str, Any]:
    operation: dict[str, Any] = api.call("GET", f"bulk-operations/{operation_id}")[1]
    return operation


def run(api: AdminApi, action: str, expected_count: int, **job_filter: Any) -> dict[str, Any]:
    """Start an operation, let it end, and return it."""
    status, operation = start(api, action, expected_count, **job_filter)
    assert status == 202, operation
    run_worker(api)
    return read(api, operation["id"])


def count_outcomes(operation: dict[str, Any]) -> tuple[int, int, int]:
    return operation["done"], operation["skipped"], operation["failed"]


def list_retries(api: AdminApi, jobs: list[Job]) -> list[Job]:
    current = [api.jobs.get(job.tenant, job.id) for job in jobs]
    found = [api.jobs.get(job.tenant, job.retried_as) for job in current if job and job.retried_as]
    return [job for job in found if job is not None]


class TestPreview:
    def test_count_without_confirmation_starts_nothing(self, api: AdminApi) -> None:
        add_jobs(api, 3)
        add_jobs(api, 2, tenant="globex")
        add_jobs(api, 1, S.SUCCEEDED)

        status, preview = start(api, "retry", None, tenant="acme")

        assert status == 200
        assert (preview["matched"], preview["complete"]) == (3, True)
        assert preview["filter"] == {
            "status": "canceled,failed",
            "tenant": "acme",
            "created_before": "2026-01-31T10:30:00.000Z",
        }
        assert api.call("GET", "bulk-operations")[1]["results"] == []
        assert api.worker_starter.count == 0

    def test_filter_narrows_as_in_the_list_of_jobs(self, api: AdminApi) -> None:
        add_jobs(api, 2, model="acme/one", key_id="k2m4q6s8u0w2", end_reason=EndReason.REPORTED)
        add_jobs(api, 1, model="acme/two", end_reason=EndReason.REPORTED)
        add_jobs(api, 4, end_reason=EndReason.REJECTED, created_at=START - timedelta(minutes=1))

        def count(**job_filter: Any) -> int:
            return int(start(api, "retry", None, **job_filter)[1]["matched"])

        assert count(model="acme/one") == 2
        assert count(key="k2m4q6s8u0w2") == 2
        assert count(error_class="reported") == 3
        assert count(status="failed", older_than=600) == 3
        assert count(created_after="2026-01-31T10:00:00Z") == 4
        assert count(status="canceled") == 0

    def test_more_than_the_limit_is_said_and_not_started(
        self, api: AdminApi, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("replicate_proxy.operations.bulk.service.MAX_JOBS", 2)
        add_jobs(api, 3)

        preview = start(api, "retry", None, tenant="acme")[1]
        status, problem = start(api, "retry", 2, tenant="acme")

        assert (preview["matched"], preview["complete"]) == (2, False)
        assert (status, problem["invalid_fields"][0]["field"]) == (422, "filter")

    @pytest.mark.parametrize(
        ("action", "job_filter", "field"),
        [
            ("explode", {"tenant": "acme"}, "action"),
            ("retry", {}, "filter"),
            ("retry", {"tenant": "Not A Tenant"}, "filter.tenant"),
            ("retry", {"status": "odd"}, "filter.status"),
            ("retry", {"status": "succeeded"}, "filter.status"),
            ("cancel", {"status": "failed"}, "filter.status"),
            ("cancel", {"error_class": "rejected"}, "filter.status"),
            ("retry", {"error_class": "odd"}, "filter.error_class"),
            ("retry", {"created_after": "yesterday"}, "filter.created_after"),
            ("retry", {"older_than": -1}, "filter.older_than"),
            ("retry", {"color": "red"}, "filter"),
        ],
    )
    def test_invalid_request_names_the_field(
        self, api: AdminApi, action: str, job_filter: dict[str, Any], field: str
    ) -> None:
        status, problem = start(api, action, 1, **job_filter)

        assert status == 422
        assert problem["invalid_fields"][0]["field"] == field

    def test_key_without_scope_is_refused(self, api: AdminApi) -> None:
        body = {"action": "retry", "filter": {"tenant": "acme"}}
        for method, path in [
            ("POST", "bulk-operations"),
            ("GET", "bulk-operations"),
            ("GET", "bulk-operations/01kg0000000000000000000000"),
            ("POST", "bulk-operations/01kg0000000000000000000000/cancel"),
        ]:
            assert api.call(method, path, body, scopes="predictions:read predictions:write")[0] == 403


class TestStart:
    def test_other_count_than_confirmed_starts_nothing(self, api: AdminApi) -> None:
        add_jobs(api, 3)

        for wrong in (0, 2, 4):
            status, problem = start(api, "retry", wrong, tenant="acme")
            assert (status, problem["title"], problem["matched"]) == (409, "Count has changed", 3)
        assert start(api, "retry", 0, tenant="globex")[1]["title"] == "Nothing matches"
        assert api.call("GET", "bulk-operations")[1]["results"] == []

    def test_fewer_unfinished_jobs_than_confirmed_are_accepted(self, api: AdminApi) -> None:
        add_jobs(api, 3, S.PROCESSING)

        assert start(api, "cancel", 2, tenant="acme")[0] == 409
        status, operation = start(api, "cancel", 5, tenant="acme")

        assert (status, operation["matched"]) == (202, 3)

    def test_operation_is_recorded_and_worker_started(self, api: AdminApi) -> None:
        add_jobs(api, 2)

        operation = start(api, "retry", 2, status="failed")[1]

        assert (operation["status"], operation["matched"], operation["remaining"]) == ("running", 2, 2)
        assert operation["started_by"] == {"key_id": "op", "source": "api"}
        assert api.worker_starter.count == 1
        (record,) = api.call("GET", "audit", target=f"bulk-operations/{operation['id']}")[1]["results"]
        assert (record["action"], record["outcome"]) == ("bulk_operation.start", "succeeded")
        assert record["parameters"]["filter"]["status"] == "failed"
        assert record["parameters"]["expected_count"] == 2
        assert record["after"]["matched"] == 2

    def test_worker_that_cannot_be_started_is_left_to_the_schedule(self, api: AdminApi) -> None:
        add_jobs(api, 1)
        api.worker_starter.error = RetryableError("throttled")

        assert run(api, "retry", 1, tenant="acme")["status"] == "succeeded"

    def test_repetition_with_an_idempotency_key_starts_one(self, api: AdminApi) -> None:
        add_jobs(api, 2)
        body = {"action": "retry", "filter": {"older_than": 60}, "expected_count": 2}
        # One that is refused leaves the key free.
        wrong = api.call("POST", "bulk-operations", {**body, "expected_count": 1}, idempotency_key="k1")
        assert wrong[0] == 409
        first = api.call("POST", "bulk-operations", body, idempotency_key="k1")
        run_worker(api)
        api.clock.advance(60)

        repeated = api.call("POST", "bulk-operations", body, idempotency_key="k1")
        other = api.call(
            "POST", "bulk-operations", {**body, "filter": {"status": "failed"}}, idempotency_key="k1"
        )

        assert (first[0], repeated[0], repeated[1]["id"]) == (202, 200, first[1]["id"])
        assert (other[0], other[1]["title"]) == (409, "Idempotency key in use")
        assert len(api.call("GET", "bulk-operations")[1]["results"]) == 1

    def test_list_is_newest_first_with_a_cursor(self, api: AdminApi) -> None:
        add_jobs(api, 1)
        ids = []
        for _ in range(3):
            ids.append(start(api, "retry", 1, tenant="acme")[1]["id"])
            api.clock.advance(1)

        first = api.call("GET", "bulk-operations", limit="2")[1]
        cursor = first["next"].rpartition("cursor=")[2]
        second = api.call("GET", "bulk-operations", limit="2", cursor=cursor)[1]

        assert [each["id"] for each in first["results"] + second["results"]] == ids[::-1]
        assert second["next"] is None
        assert api.call("GET", "bulk-operations", limit="0")[0] == 400

    @pytest.mark.parametrize("name", ["01kg0000000000000000000000", "odd"])
    def test_unknown_operation_is_not_found(self, api: AdminApi, name: str) -> None:
        assert api.call("GET", f"bulk-operations/{name}")[0] == 404
        assert api.call("POST", f"bulk-operations/{name}/cancel", {})[0] == 404


class TestActions:
    def test_failed_jobs_are_retried_once(self, api: AdminApi) -> None:
        jobs = add_jobs(api, 25)
        others = add_jobs(api, 1, tenant="globex")

        operation = run(api, "retry", 25, tenant="acme")

        assert (operation["status"], operation["done"], operation["remaining"]) == ("succeeded", 25, 0)
        assert len({job.retried_from for job in list_retries(api, jobs)}) == 25
        assert list_retries(api, others) == []
        assert len(api.commands.commands) == 25
        assert operation["ended_at"] is not None

    def test_retries_that_fail_are_not_retried_by_the_same_operation(self, api: AdminApi) -> None:
        jobs = add_jobs(api, 12)
        operation = start(api, "retry", 12, tenant="acme")[1]
        run_worker(api, seconds=0.5)
        assert 0 < read(api, operation["id"])["done"] < 12
        for retry in list_retries(api, jobs):
            api.jobs.save(replace(retry, status=S.FAILED, next_check_at=None))

        run_worker(api)

        assert read(api, operation["id"])["done"] == 12
        assert len(list_retries(api, jobs)) == 12
        assert list_retries(api, list_retries(api, jobs)) == []

    def test_second_retry_operation_skips_what_was_retried(self, api: AdminApi) -> None:
        add_jobs(api, 2)
        run(api, "retry", 2, status="failed")
        api.clock.advance(1)

        operation = run(api, "retry", 2, status="failed")

        assert count_outcomes(operation) == (0, 2, 0)
        assert operation["skips"][0]["reason"] == "Retried before"

    def test_unfinished_jobs_are_canceled(self, api: AdminApi) -> None:
        queued = add_jobs(api, 2, S.QUEUED)
        running = add_jobs(api, 1, S.PROCESSING)
        add_jobs(api, 1, S.HARVESTING)

        operation = run(api, "cancel", 4, tenant="acme")

        assert count_outcomes(operation) == (3, 0, 1)
        assert operation["failures"][0]["reason"] == "Job is being harvested"
        for job in queued + running:
            stored = api.jobs.get(job.tenant, job.id)
            assert stored is not None
            assert stored.cancel_requested_at == START

    def test_webhooks_are_redelivered(self, api: AdminApi) -> None:
        jobs = add_jobs(api, 3, S.SUCCEEDED)
        for job in jobs[:2]:
            api.deliveries.create(make_delivery(tenant="acme", job_id=job.id))

        operation = run(api, "redeliver", 3, tenant="acme")

        assert count_outcomes(operation) == (2, 1, 0)
        assert operation["skips"][0] == {
            "reason": "No deliveries",
            "count": 1,
            "jobs": [{"tenant": "acme", "id": jobs[2].id}],
        }
        assert len(api.delivery_queue) == 2

    def test_files_are_harvested_again(self, api: AdminApi) -> None:
        left = '[{"path": [0], "outcome": "not_stored", "url": "https://replicate.delivery/a"}]'
        add_jobs(api, 2, S.SUCCEEDED, files=Document(text=left), completed_at=START)
        add_jobs(api, 1, S.SUCCEEDED)

        operation = run(api, "harvest", 3, tenant="acme")

        assert count_outcomes(operation) == (2, 1, 0)
        assert len(api.harvests.sent) == 2

    def test_job_that_has_changed_since_the_start_is_skipped(self, api: AdminApi) -> None:
        first, second = add_jobs(api, 2, S.QUEUED)
        operation = start(api, "cancel", 2, status="queued")[1]
        api.jobs.save(replace(first, status=S.SUBMITTED))

        run_worker(api)

        operation = read(api, operation["id"])
        assert count_outcomes(operation) == (1, 1, 0)
        assert operation["skips"][0]["reason"] == "Does not match any more"
        assert operation["skips"][0]["jobs"][0]["id"] == first.id
        stored = api.jobs.get(second.tenant, second.id)
        assert stored is not None
        assert stored.status is S.CANCELED

    def test_failures_are_counted_by_reason_with_samples(self, api: AdminApi) -> None:
        add_jobs(api, 12)
        add_jobs(api, 2, end_reason=EndReason.UNRESOLVED)
        limits = DynamoBudgetStore(api.dynamodb, USAGE_TABLE)
        limits.put_limits(BudgetOwner("acme"), BudgetLimits(day_micro_usd=1))

        operation = run(api, "retry", 14, tenant="acme")

        assert count_outcomes(operation) == (0, 0, 14)
        counts = {each["reason"]: (each["count"], len(each["jobs"])) for each in operation["failures"]}
        assert counts == {
            "Outcome unknown": (2, 2),
            "Budget exceeded": (12, MAX_SAMPLES_PER_REASON),
        }
        assert operation["status"] == "succeeded"

    def test_ended_jobs_are_deleted(self, api: AdminApi) -> None:
        jobs = add_jobs(api, 3)

        operation = run(api, "delete", 3, tenant="acme")

        assert count_outcomes(operation) == (3, 0, 0)
        assert not [job for job in jobs if api.jobs.get(job.tenant, job.id)]

    def test_each_job_is_recorded_with_the_operation(self, api: AdminApi) -> None:
        (job,) = add_jobs(api, 1)

        operation = run(api, "retry", 1, tenant="acme")

        (record,) = api.call("GET", "audit", target=f"jobs/acme/{job.id}")[1]["results"]
        assert (record["action"], record["key_id"]) == ("job.retry", "op")
        assert record["parameters"] == {"bulk_operation": operation["id"]}
        assert record["correlation_id"] == operation["correlation_id"]
        target = f"bulk-operations/{operation['id']}"
        end = api.call("GET", "audit", target=target)[1]["results"][0]
        assert (end["action"], end["key_id"]) == ("bulk_operation.end", "op")
        assert (end["after"]["status"], end["after"]["done"]) == ("succeeded", 1)


class TestWorker:
    def test_rate_is_limited(self, api: AdminApi) -> None:
        add_jobs(api, 100)

        run(api, "retry", 100, tenant="acme")

        assert api.clock.now() - START == timedelta(seconds=5)

    def test_deadline_leaves_the_rest_to_the_next_run(self, api: AdminApi) -> None:
        add_jobs(api, 100)
        operation = start(api, "retry", 100, tenant="acme")[1]

        assert run_worker(api, seconds=2) == 40
        assert (read(api, operation["id"])["status"], read(api, operation["id"])["remaining"]) == (
            "running",
            60,
        )
        assert run_worker(api) == 60
        assert run_worker(api) == 0

    def test_operations_take_turns(self, api: AdminApi) -> None:
        add_jobs(api, 50)
        add_jobs(api, 50, tenant="globex")
        ids = [start(api, "retry", 50, tenant=tenant)[1]["id"] for tenant in ("acme", "globex")]

        run_worker(api, seconds=2)

        assert [read(api, each)["done"] for each in ids] == [20, 20]

    def test_second_worker_does_nothing(self, api: AdminApi) -> None:
        add_jobs(api, 1)
        start(api, "retry", 1, tenant="acme")
        worker = api.bulk_worker

        with worker.lease.hold(START + timedelta(seconds=29)):
            assert run_worker(api) == 0

        assert run_worker(api) == 1

    def test_canceled_operation_acts_on_no_further_jobs(self, api: AdminApi) -> None:
        jobs = add_jobs(api, 30)
        operation = start(api, "retry", 30, tenant="acme")[1]

        def cancel(name: str) -> None:
            if name == "admin.bulk_slice_done":
                assert api.call("POST", f"bulk-operations/{operation['id']}/cancel", {})[0] == 200

        api.checkpoint = cancel
        run_worker(api)

        canceled = read(api, operation["id"])
        # The slice that was in progress is counted.
        assert (canceled["status"], canceled["done"], canceled["remaining"]) == ("canceled", 10, 20)
        assert canceled["canceled_by"] == "op"
        assert len(list_retries(api, jobs)) == 10
        assert run_worker(api) == 0
        target = f"bulk-operations/{operation['id']}"
        records = api.call("GET", "audit", target=target)[1]["results"]
        assert [record["action"] for record in records] == ["bulk_operation.cancel", "bulk_operation.start"]

    def test_cancel_of_an_ended_operation_is_refused(self, api: AdminApi) -> None:
        add_jobs(api, 1)
        operation = run(api, "retry", 1, tenant="acme")

        status, problem = api.call("POST", f"bulk-operations/{operation['id']}/cancel", {})

        assert (status, problem["title"]) == (409, "Operation has ended")

    def test_repeated_cancel_changes_nothing(self, api: AdminApi) -> None:
        add_jobs(api, 1)
        path = f"bulk-operations/{start(api, 'retry', 1, tenant='acme')[1]['id']}/cancel"

        first, second = api.call("POST", path, {}), api.call("POST", path, {})

        assert first == second
        assert first[1]["status"] == "canceled"

    def test_temporary_failure_is_repeated_and_then_reported(self, api: AdminApi) -> None:
        broken, fine = add_jobs(api, 2)[::-1]

        def check_pause(_: str) -> None:
            raise ApiError(503, "Paused", "by a test")

        api.check_pause = check_pause
        operation = start(api, "retry", 2, tenant="acme")[1]
        assert run_worker(api) == 0
        assert run_worker(api) == 0
        # The third failure of the first job is reported; the next job has its own tries.
        assert run_worker(api) == 1
        api.check_pause = lambda _: None

        run_worker(api)

        ended = read(api, operation["id"])
        assert count_outcomes(ended) == (1, 0, 1)
        assert ended["failures"] == [
            {
                "reason": "Temporary failure: Paused",
                "count": 1,
                "jobs": [{"tenant": "acme", "id": broken.id}],
            }
        ]
        assert [job.retried_from for job in list_retries(api, [fine])] == [fine.id]

    def test_unexpected_error_of_a_job_does_not_stop_the_others(
        self, api: AdminApi, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        jobs = add_jobs(api, 3)
        worker = api.bulk_worker
        monkeypatch.setattr(type(worker.jobs), "get", _fail_for(jobs[1].id, type(worker.jobs).get))
        operation = start(api, "retry", 3, tenant="acme")[1]

        for _ in range(5):
            run_worker(api)

        ended = read(api, operation["id"])
        assert (ended["status"], *count_outcomes(ended)) == ("succeeded", 2, 0, 1)
        assert ended["failures"][0]["reason"] == "Temporary failure: ValueError"

    def test_operation_that_does_not_end_within_a_day_fails(self, api: AdminApi) -> None:
        add_jobs(api, 1)
        operation = start(api, "retry", 1, tenant="acme")[1]
        api.clock.advance(hours=25)

        run_worker(api)

        ended = read(api, operation["id"])
        assert (ended["status"], ended["error"]) == ("failed", "It did not end within a day")

    def test_lost_list_of_jobs_fails_the_operation(self, api: AdminApi) -> None:
        add_jobs(api, 1)
        operation: BulkOperation | None = api.bulk_store.get(start(api, "retry", 1, tenant="acme")[1]["id"])
        assert operation is not None
        api.bulk_store.replace(replace(operation, list_id="gone"))

        run_worker(api)

        assert read(api, operation.id)["error"] == "The list of its jobs is gone"


def _fail_for(job_id: str, get: Any) -> Any:
    def fail_or_get(store: Any, tenant: str, each: str, **options: Any) -> Any:
        if each == job_id:
            raise ValueError("bug")
        return get(store, tenant, each, **options)

    return fail_or_get
