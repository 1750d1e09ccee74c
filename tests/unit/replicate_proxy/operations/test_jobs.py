"""Jobs of all tenants through the admin API: search, counts, one job and its story."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from replicate_proxy.audit.model import build_job_target
from replicate_proxy.jobs.model import (
    AttemptOutcome,
    Document,
    EndReason,
    JobStatus,
    PastAttempt,
    ReportChannel,
    TimelineStep,
    Waiting,
    WaitReason,
)
from replicate_proxy.webhooks.model import AttemptResult, DeliveryStatus
from tests.support.builders import make_job
from tests.support.clock import NOW
from tests.support.webhook_builders import make_attempt, make_delivery

if TYPE_CHECKING:
    from replicate_proxy.jobs.model import Job
    from tests.support.admin_api import AdminApi


def add_job(api: AdminApi, number: int, status: JobStatus = JobStatus.QUEUED, **fields: Any) -> Job:
    job = make_job(status, created_at=NOW - timedelta(minutes=number), **fields)
    api.jobs.create(job)
    return job


def find_ids(api: AdminApi, **query: str) -> list[str]:
    status, page = api.call("GET", "jobs", **query)
    assert status == 200
    return [job["id"] for job in page["results"]]


def test_jobs_are_searched_by_each_filter(admin_api: AdminApi) -> None:
    queued = add_job(admin_api, 1, key_id="jwt:user 7")
    old = add_job(admin_api, 60, JobStatus.SUBMITTED, tenant="globex")
    failed = add_job(admin_api, 2, JobStatus.FAILED, end_reason=EndReason.NO_CREDIT)
    rejected = add_job(admin_api, 3, JobStatus.FAILED, end_reason=EndReason.REJECTED, model="acme/model")

    assert find_ids(admin_api) == [queued.id, failed.id, rejected.id, old.id]
    assert find_ids(admin_api, status="unfinished") == [queued.id, old.id]
    assert find_ids(admin_api, status="queued") == [queued.id]
    assert find_ids(admin_api, status="failed,queued") == [queued.id, failed.id, rejected.id]
    assert find_ids(admin_api, error_class="no_credit") == [failed.id]
    assert find_ids(admin_api, model="acme/model") == [rejected.id]
    assert find_ids(admin_api, tenant="globex") == [old.id]
    assert find_ids(admin_api, key="jwt:user 7") == [queued.id]
    assert find_ids(admin_api, key="jwt:user 7", status="failed") == []
    assert find_ids(admin_api, older_than="3000") == [old.id]
    assert find_ids(admin_api, created_after="2026-01-31T09:28:00Z") == [queued.id, failed.id]
    assert find_ids(admin_api, id=old.id) == [old.id]
    assert find_ids(admin_api, id="unknown") == []


def test_list_pages_by_cursor_and_shows_no_input(admin_api: AdminApi) -> None:
    added = [add_job(admin_api, number) for number in range(5)]

    _, page = admin_api.call("GET", "jobs", limit="3")
    _, rest = admin_api.call("GET", "jobs", limit="3", cursor=page["next"].rpartition("cursor=")[2])

    assert [job["id"] for job in page["results"] + rest["results"]] == [job.id for job in added]
    assert rest["next"] is None
    assert "a cat" not in str(page)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("status", "starting"),
        ("error_class", "bad"),
        ("tenant", "NO"),
        ("older_than", "1h"),
        ("created_after", "monday"),
        ("limit", "101"),
        ("cursor", "x"),
        ("state", "queued"),
    ],
)
def test_invalid_parameter_is_named(admin_api: AdminApi, name: str, text: str) -> None:
    status, problem = admin_api.call("GET", "jobs", **{name: text})

    assert (status, problem["invalid_fields"][0]["field"]) == (400, name)


def test_counts_are_by_status(admin_api: AdminApi) -> None:
    add_job(admin_api, 1)
    add_job(admin_api, 2, JobStatus.HARVESTING)
    add_job(admin_api, 3, JobStatus.SUCCEEDED)

    status, counts = admin_api.call("GET", "jobs/counts")

    assert (status, counts["complete"]) == (200, True)
    assert (counts["unfinished"]["queued"], counts["unfinished"]["harvesting"]) == (1, 1)
    assert "succeeded" not in counts["unfinished"]
    assert counts["ended"] == {"succeeded": 0, "failed": 0, "canceled": 0}
    assert counts["ended_since"] == "2026-01-30"
    assert counts["overdue"] == 0


def test_counts_say_how_many_are_overdue(admin_api: AdminApi) -> None:
    """The sweep has not checked them in time."""
    add_job(admin_api, 1, next_check_at=NOW - timedelta(seconds=181))
    add_job(admin_api, 2, next_check_at=NOW - timedelta(seconds=179))

    _, counts = admin_api.call("GET", "jobs/counts")

    assert (counts["unfinished"]["queued"], counts["overdue"]) == (2, 1)


def test_job_is_shown_as_its_tenant_sees_it_with_operator_fields(admin_api: AdminApi) -> None:
    job = add_job(admin_api, 1, key_id="key-1")

    status, shown = admin_api.call("GET", f"jobs/acme/{job.id}")

    assert status == 200
    assert (shown["status"], shown["input"]) == ("starting", {"prompt": "a cat"})
    assert (shown["operator"]["status"], shown["operator"]["key_id"]) == ("queued", "key-1")
    assert shown["operator"]["next_check_at"] is not None


def test_list_says_why_queued_jobs_wait(admin_api: AdminApi) -> None:
    waiting = Waiting(reason=WaitReason.RATE_LIMIT)
    add_job(admin_api, 1, waiting=waiting)
    add_job(admin_api, 2, JobStatus.PROCESSING, waiting=waiting)

    _, body = admin_api.call("GET", "jobs", status="unfinished")

    assert [job["wait_reason"] for job in body["results"]] == ["rate_limit", None]


@pytest.mark.parametrize("path", ["jobs/globex/{id}", "jobs/acme/unknown", "jobs/globex/{id}/story"])
def test_unknown_job_is_not_found(admin_api: AdminApi, path: str) -> None:
    job = add_job(admin_api, 1)

    assert admin_api.call("GET", path.format(id=job.id))[0] == 404


def test_story_has_everything_in_time_order(admin_api: AdminApi) -> None:
    at = [NOW + timedelta(seconds=second) for second in range(20)]
    job = add_job(
        admin_api,
        0,
        JobStatus.SUCCEEDED,
        attempt=2,
        replicate_id="p2",
        replicate_status="succeeded",
        report_channel=ReportChannel.WEBHOOK,
        end_reason=EndReason.HARVESTED,
        cancel_requested_at=at[6],
        past_attempts=(
            PastAttempt(
                attempt=1,
                outcome=AttemptOutcome.FAILED,
                replicate_id="p1",
                error="a transient error",
                ended_at=at[2],
            ),
        ),
        files=Document(text='[{"path": [0], "outcome": "compressed", "url": "https://o.test/a.webp"}]'),
        timeline={
            TimelineStep.ACCEPTED: at[0],
            TimelineStep.SUBMITTED: at[3],
            TimelineStep.REPORTED: at[7],
            TimelineStep.FINISHED: at[8],
        },
    )
    delivery = replace(
        make_delivery(tenant="acme", job_id=job.id, created_at=at[9]),
        status=DeliveryStatus.SUCCEEDED,
        finished_at=at[11],
    )
    admin_api.deliveries.create(delivery)
    admin_api.deliveries.record_attempt(
        make_attempt(
            tenant="acme",
            job_id=job.id,
            sequence=delivery.sequence,
            target=delivery.target,
            sent_at=at[10],
            result=AttemptResult.DELIVERED,
        )
    )
    admin_api.clock.advance(12)
    admin_api.call("POST", f"tenants/acme/deliveries/{delivery.id}/redeliver", {})

    status, story = admin_api.call("GET", f"jobs/acme/{job.id}/story")

    assert status == 200
    assert [(event["kind"], event["name"]) for event in story["events"]] == [
        ("step", "accepted"),
        ("attempt", "failed"),
        ("step", "submitted"),
        ("cancel", "cancel_requested"),
        ("step", "reported"),
        ("step", "finished"),
        ("file", "compressed"),
        ("delivery", "created"),
        ("delivery_attempt", "delivered"),
        ("delivery", "succeeded"),
        ("operator", "delivery.redeliver"),
    ]
    assert story["events"][1]["details"]["error"] == "a transient error"
    assert story["events"][-1]["details"]["key_name"] == "key op"
    assert story["logs"]["correlation_id"] == "c-1"
    assert job.id in story["logs"]["query"]
    assert "/aws/lambda/proxy-dispatch" in story["logs"]["log_groups"]
    assert story["job"]["error_class"] == "harvested"
    assert build_job_target("acme", job.id) == f"jobs/acme/{job.id}"
