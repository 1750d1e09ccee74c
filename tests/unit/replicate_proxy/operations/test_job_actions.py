"""What operators do to one job through the admin API, and what of it is recorded."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from replicate_proxy.aws.budget_store import DynamoBudgetStore
from replicate_proxy.budgets.model import BudgetLimits, BudgetOwner
from replicate_proxy.contracts.commands import DispatchKind
from replicate_proxy.errors import ApiError
from replicate_proxy.ids import generate_id
from replicate_proxy.jobs.changes import CancelRequested
from replicate_proxy.jobs.model import (
    AttemptOutcome,
    Document,
    EndReason,
    Job,
    JobStatus,
    PastAttempt,
    ReportChannel,
)
from replicate_proxy.model_entries.entry import ModelEntry
from replicate_proxy.services.cancel import JobCanceler
from tests.support.aws import USAGE_TABLE
from tests.support.builders import make_job
from tests.support.clock import NOW
from tests.support.webhook_builders import make_delivery

if TYPE_CHECKING:
    from tests.support.admin_api import AdminApi

S = JobStatus
LEFT = '[{"path": [0], "outcome": "not_stored", "url": "https://replicate.delivery/a", "reason": "timeout"}]'
STORED = '[{"path": [0], "outcome": "stored", "url": "https://outputs.test/a"}]'


def add_job(api: AdminApi, status: JobStatus = S.QUEUED, **fields: Any) -> Job:
    job = make_job(status, **fields)
    api.jobs.create(job)
    return job


def act(api: AdminApi, job: Job, action: str) -> tuple[int, Any]:
    return api.call("POST", f"jobs/{job.tenant}/{job.id}/{action}", {})


def find_records(api: AdminApi, job: Job) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = api.call("GET", "audit", target=f"jobs/{job.tenant}/{job.id}")[1][
        "results"
    ]
    return records


def list_jobs(api: AdminApi) -> list[dict[str, Any]]:
    jobs: list[dict[str, Any]] = api.call("GET", "jobs")[1]["results"]
    return jobs


@pytest.mark.parametrize("action", ["cancel", "redeliver", "harvest", "retry"])
def test_unknown_job_is_not_found(admin_api: AdminApi, action: str) -> None:
    job = add_job(admin_api)

    assert act(admin_api, replace(job, tenant="globex"), action)[0] == 404
    assert act(admin_api, replace(job, id="unknown"), action)[0] == 404
    assert admin_api.call("POST", f"jobs/acme/{job.id}/{action}", {}, scopes="predictions:write")[0] == 403


class TestCancel:
    def test_queued_job_ends_and_it_is_recorded(self, admin_api: AdminApi) -> None:
        job = add_job(admin_api)

        status, response = act(admin_api, job, "cancel")

        assert (status, response["job"]["status"]) == (202, "canceled")
        (record,) = find_records(admin_api, job)
        assert (record["action"], record["tenant"], record["key_id"]) == ("job.cancel", "acme", "op")
        assert (record["before"]["status"], record["after"]["status"]) == ("queued", "canceled")

    def test_running_job_is_canceled_by_dispatch(self, admin_api: AdminApi) -> None:
        job = add_job(admin_api, S.PROCESSING)

        assert act(admin_api, job, "cancel")[0] == 202
        # A repetition changes nothing.
        assert act(admin_api, job, "cancel")[0] == 202

        assert [command.kind for command in admin_api.commands.commands] == [DispatchKind.CANCEL]
        assert find_records(admin_api, job)[0]["before"]["cancel_requested"]

    @pytest.mark.parametrize(
        ("status", "text"), [(S.FAILED, "has ended as failed"), (S.HARVESTING, "files are being stored")]
    )
    def test_too_late_cancel_says_so(self, admin_api: AdminApi, status: JobStatus, text: str) -> None:
        job = add_job(admin_api, status)

        code, problem = act(admin_api, job, "cancel")

        assert (code, text in problem["detail"]) == (409, True)
        assert find_records(admin_api, job)[0]["outcome"] == "refused"

    def test_job_that_ends_before_its_cancel_is_recorded_says_so(
        self, admin_api: AdminApi, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job = add_job(admin_api, S.PROCESSING)
        monkeypatch.setattr(JobCanceler, "request_cancel", lambda _, job: replace(job, status=S.FAILED))

        code, problem = act(admin_api, job, "cancel")

        assert (code, problem["detail"]) == (409, "The job has ended as failed, nothing runs")
        assert find_records(admin_api, job)[0]["outcome"] == "refused"


class TestRetryRetention:
    @pytest.mark.parametrize(
        ("fields", "seconds"),
        [({"delete_at": NOW + timedelta(days=2), "deletes_files": True}, None), ({}, 7 * 86400)],
    )
    def test_retry_keeps_its_own_retention_or_has_that_of_the_tenant(
        self, admin_api: AdminApi, fields: dict[str, Any], seconds: int | None
    ) -> None:
        admin_api.call("PUT", "tenants/acme", {"retention": "7d"})
        job = add_job(admin_api, S.FAILED, **fields)

        _, response = act(admin_api, job, "retry")

        retried = admin_api.jobs.get("acme", response["job"]["id"])
        assert retried is not None
        assert retried.deletes_files
        assert retried.delete_at is not None
        expected = timedelta(seconds=seconds) if seconds else fields["delete_at"] - job.created_at
        assert retried.delete_at - retried.created_at == expected


class TestRedeliver:
    def test_all_deliveries_are_sent_again_in_order(self, admin_api: AdminApi) -> None:
        job = add_job(admin_api, S.SUCCEEDED)
        for sequence in (5, 2):
            admin_api.deliveries.create(make_delivery(tenant="acme", job_id=job.id, sequence=sequence))

        status, response = act(admin_api, job, "redeliver")

        assert (status, response["refused"]) == (202, [])
        assert [name.split(".")[1] for name in response["redelivered"]] == ["2", "5"]
        assert len(admin_api.delivery_queue) == 2
        (record,) = find_records(admin_api, job)
        assert record["after"]["redelivered"] == response["redelivered"]
        assert set(record["before"]) == set(response["redelivered"])

    def test_job_without_deliveries_is_refused(self, admin_api: AdminApi) -> None:
        status, problem = act(admin_api, add_job(admin_api, S.SUCCEEDED), "redeliver")

        assert (status, problem["title"]) == (409, "No deliveries")

    def test_delivery_to_missing_endpoint_is_refused(self, admin_api: AdminApi) -> None:
        job = add_job(admin_api, S.SUCCEEDED)
        gone = make_delivery(tenant="acme", job_id=job.id, sequence=1, target=generate_id(NOW))
        admin_api.deliveries.create(gone)
        assert act(admin_api, job, "redeliver")[0] == 409
        admin_api.deliveries.create(make_delivery(tenant="acme", job_id=job.id, sequence=2))

        status, response = act(admin_api, job, "redeliver")

        assert status == 202
        assert [refused["id"] for refused in response["refused"]] == [gone.id]
        assert "Enable the endpoint" in response["refused"][0]["reason"]


class TestHarvest:
    def test_files_left_are_asked_for(self, admin_api: AdminApi) -> None:
        job = add_job(admin_api, S.SUCCEEDED, files=Document(text=LEFT), completed_at=NOW)

        assert act(admin_api, job, "harvest")[0] == 202

        ((event, _),) = admin_api.harvests.sent
        assert event.data["channel"] == ReportChannel.REPEATED_HARVEST
        assert find_records(admin_api, job)[0]["after"] == {"files": 1}

    @pytest.mark.parametrize(
        ("status", "fields", "title"),
        [
            (S.PROCESSING, {}, "Job has not ended"),
            (S.FAILED, {}, "No output"),
            (S.SUCCEEDED, {"files": Document(text=STORED)}, "All files are stored"),
            (S.SUCCEEDED, {"completed_at": NOW - timedelta(hours=2)}, "Files are gone"),
            (
                S.SUCCEEDED,
                {"completed_at": NOW, "lease_until": NOW + timedelta(minutes=1)},
                "Harvest in progress",
            ),
        ],
    )
    def test_harvest_in_vain_is_refused(
        self, admin_api: AdminApi, status: JobStatus, fields: dict[str, Any], title: str
    ) -> None:
        job = add_job(admin_api, status, **{"files": Document(text=LEFT), **fields})

        code, problem = act(admin_api, job, "harvest")

        assert (code, problem["title"]) == (409, title)
        assert admin_api.harvests.sent == []


class TestRetry:
    def test_new_job_runs_the_same_request(self, admin_api: AdminApi) -> None:
        failed = add_job(
            admin_api,
            S.FAILED,
            end_reason=EndReason.REPORTED,
            replicate_id="p1",
            key_id="key-1",
            webhook="https://hooks.test/x",
            webhook_events=("completed",),
            image_options={"format": "avif"},
            metadata={"order": "42"},
            deadline=NOW + timedelta(seconds=600),
            batch_id="batch",
        )
        admin_api.clock.advance(3600)

        status, response = act(admin_api, failed, "retry")

        assert status == 201
        retry = admin_api.jobs.get("acme", response["job"]["id"])
        assert retry is not None
        assert (retry.retried_from, retry.status, retry.batch_id) == (failed.id, S.QUEUED, None)
        for name in (
            *("submission", "key_id", "webhook", "webhook_events", "image_options", "metadata"),
            "correlation_id",
        ):
            assert getattr(retry, name) == getattr(failed, name), name
        assert admin_api.documents.load(retry.input) == {"prompt": "a cat"}
        assert retry.deadline == retry.created_at + timedelta(seconds=600)
        assert [command.job_id for command in admin_api.commands.commands] == [retry.id]

    def test_repeated_request_creates_one_job(self, admin_api: AdminApi) -> None:
        failed = add_job(admin_api, S.FAILED, end_reason=EndReason.REPORTED)
        _, first = act(admin_api, failed, "retry")
        admin_api.clock.advance(48 * 3600)

        response = admin_api.send("POST", f"jobs/acme/{failed.id}/retry", {})

        assert response["statusCode"] == 200
        assert response["headers"]["idempotent-replayed"] == "true"
        assert json.loads(response["body"])["job"]["id"] == first["job"]["id"]
        assert len(list_jobs(admin_api)) == 2
        assert [record["after"] for record in find_records(admin_api, failed)] == [
            {"job": first["job"]["id"], "is_repeated": True},
            {"job": first["job"]["id"], "is_repeated": False},
        ]

    @pytest.mark.parametrize("point", ["ingest.idempotency_key_claimed", "ingest.job_stored"])
    def test_retry_after_a_crash_creates_no_second_job(self, admin_api: AdminApi, point: str) -> None:
        failed = add_job(admin_api, S.FAILED, end_reason=EndReason.REPORTED)

        def crash(name: str) -> None:
            if name == point:
                raise ConnectionError

        admin_api.checkpoint = crash
        assert act(admin_api, failed, "retry")[0] == 500
        admin_api.checkpoint = lambda _: None

        assert act(admin_api, failed, "retry")[0] in {200, 201}
        assert len(list_jobs(admin_api)) == 2

    def test_both_stories_and_the_prediction_show_the_link(self, admin_api: AdminApi) -> None:
        failed = add_job(admin_api, S.FAILED, end_reason=EndReason.REPORTED)
        retry = act(admin_api, failed, "retry")[1]["job"]

        old, new = (
            admin_api.call("GET", f"jobs/acme/{name}/story")[1]["events"] for name in (failed.id, retry["id"])
        )

        (retried,) = [event for event in old if event["kind"] == "retry"]
        assert (retried["name"], retried["details"]["id"]) == ("retried", retry["id"])
        assert (
            next(event for event in old if event["kind"] == "operator")["details"]["after"]["job"]
            == retry["id"]
        )
        (retry_of,) = [event for event in new if event["kind"] == "retry"]
        assert (retry_of["name"], retry_of["details"]["id"]) == ("retry_of", failed.id)
        shown = admin_api.call("GET", f"jobs/acme/{retry['id']}")[1]
        assert shown["proxy"]["retried_from"] == failed.id
        assert admin_api.call("GET", f"jobs/acme/{failed.id}")[1]["operator"]["retried_as"] == retry["id"]

    @pytest.mark.parametrize(
        ("status", "fields", "title"),
        [
            (S.PROCESSING, {}, "Job has not ended"),
            (S.SUCCEEDED, {}, "Job has succeeded"),
            (S.FAILED, {"end_reason": EndReason.UNRESOLVED}, "Outcome unknown"),
            (
                S.FAILED,
                {
                    "end_reason": EndReason.REPORTED,
                    "past_attempts": (
                        PastAttempt(
                            attempt=1,
                            outcome=AttemptOutcome.UNKNOWN,
                            replicate_id=None,
                            error="",
                            ended_at=NOW,
                        ),
                    ),
                },
                "Outcome unknown",
            ),
            (S.CANCELED, {"input": Document(object_key="records/gone")}, "Input is gone"),
        ],
    )
    def test_job_that_cannot_be_retried_is_refused(
        self, admin_api: AdminApi, status: JobStatus, fields: dict[str, Any], title: str
    ) -> None:
        job = add_job(admin_api, status, **fields)

        code, problem = act(admin_api, job, "retry")

        assert (code, problem["title"]) == (409, title)
        assert len(list_jobs(admin_api)) == 1
        assert find_records(admin_api, job)[0]["outcome"] == "refused"

    def test_canceled_job_is_retried(self, admin_api: AdminApi) -> None:
        job = add_job(admin_api)
        admin_api.updater.apply(job, CancelRequested())

        assert act(admin_api, job, "retry")[0] == 201

    def test_tenant_pays(self, admin_api: AdminApi) -> None:
        failed = add_job(admin_api, S.FAILED, end_reason=EndReason.REPORTED, key_id="key-1")
        limits = DynamoBudgetStore(admin_api.dynamodb, USAGE_TABLE)
        limits.put_limits(BudgetOwner("acme", "key-1"), BudgetLimits(day_micro_usd=100))

        status, problem = act(admin_api, failed, "retry")
        assert (status, problem["budget"]["scope"]) == (402, "key")
        assert [
            event["kind"] for event in admin_api.call("GET", f"jobs/acme/{failed.id}/story")[1]["events"]
        ] == [
            "step",
            "operator",
        ]

        limits.put_limits(BudgetOwner("acme", "key-1"), BudgetLimits(day_micro_usd=10_000_000))
        status, response = act(admin_api, failed, "retry")
        assert (status, response["budget"]["reserved_usd"]) == (201, "1.000000")

    def test_entry_applies_as_it_is_now(self, admin_api: AdminApi) -> None:
        failed = add_job(
            admin_api,
            S.FAILED,
            end_reason=EndReason.REPORTED,
            requested_model="team/fast",
            entry_name="team/fast",
        )
        entry = ModelEntry(name="team/fast", target="acme/newer", forced={"steps": 4})
        admin_api.entries.entries[entry.name] = entry

        retry = admin_api.jobs.get("acme", act(admin_api, failed, "retry")[1]["job"]["id"])

        assert retry is not None
        assert (retry.submission.target, retry.requested_model) == ("acme/newer", "team/fast")
        assert admin_api.documents.load(retry.input) == {"prompt": "a cat", "steps": 4}

    def test_pause_refuses_the_retry(self, admin_api: AdminApi) -> None:
        failed = add_job(admin_api, S.FAILED, end_reason=EndReason.REPORTED)

        def refuse(_tenant: str) -> None:
            raise ApiError(503, "Paused", "An operator has paused this tenant")

        admin_api.check_pause = refuse

        assert act(admin_api, failed, "retry")[0] == 503


def test_ended_job_is_deleted_once_and_recorded(admin_api: AdminApi) -> None:
    job = add_job(admin_api, S.FAILED, end_reason=EndReason.REPORTED)

    status, body = act(admin_api, job, "delete")

    assert (status, body["job"]["id"], body["job"]["status"]) == (202, job.id, "failed")
    assert admin_api.jobs.get(job.tenant, job.id) is None
    assert list_jobs(admin_api) == []
    assert act(admin_api, job, "delete")[0] == 404
    (record,) = find_records(admin_api, job)
    assert (record["action"], record["outcome"], record["after"]) == (
        "job.delete",
        "succeeded",
        {"deleted": True},
    )
    assert record["before"]["status"] == "failed"


def test_running_job_is_not_deleted(admin_api: AdminApi) -> None:
    job = add_job(admin_api, S.PROCESSING)

    status, problem = act(admin_api, job, "delete")

    assert (status, "cancel it first" in problem["detail"]) == (409, True)
    assert admin_api.jobs.get(job.tenant, job.id) is not None
    assert [record["outcome"] for record in find_records(admin_api, job)] == ["refused"]
