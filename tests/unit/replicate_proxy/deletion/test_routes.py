"""DELETE /v1/predictions/{id} over the whole pipeline in memory."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from replicate_proxy.auth.tenants import Tenant
from replicate_proxy.clock import format_optional_timestamp
from replicate_proxy.jobs.model import JobStatus
from tests.support.builders import make_event, make_job
from tests.support.clock import NOW
from tests.support.prediction_api import CREATE_BODY, PredictionApi

if TYPE_CHECKING:
    from replicate_proxy.jobs.model import Job

RESOURCE = "/v1/predictions/{id}"


@pytest.fixture
def api() -> PredictionApi:
    return PredictionApi()


def delete(api: PredictionApi, job: Job, **fields: Any) -> int:
    event = make_event("DELETE", RESOURCE, params={"id": job.id}, **fields)
    return int(api.writes.handle(event)["statusCode"])


def test_ended_prediction_is_deleted_once(api: PredictionApi) -> None:
    job = api.pipeline.store.put(make_job(JobStatus.SUCCEEDED))

    assert delete(api, job, tenant="globex") == 404
    assert delete(api, job) == 204
    assert delete(api, job) == 404
    assert api.get(RESOURCE, params={"id": job.id})[0] == 404


def test_running_prediction_is_refused(api: PredictionApi) -> None:
    job = api.pipeline.store.put(make_job(JobStatus.PROCESSING))

    assert delete(api, job) == 409
    assert api.get(RESOURCE, params={"id": job.id})[0] == 200


def test_deletion_needs_the_scope_of_writes(api: PredictionApi) -> None:
    job = api.pipeline.store.put(make_job(JobStatus.SUCCEEDED))

    assert delete(api, job, scopes="predictions:read") == 403
    assert api.pipeline.store.jobs


def test_idempotency_key_of_deleted_prediction_creates_no_other(api: PredictionApi) -> None:
    headers = {"idempotency-key": "k1"}
    status, created, _ = api.post(headers=headers)
    assert status == 201
    job = api.pipeline.store.only_job()
    api.pipeline.canceler.cancel_job(job.tenant, job.id)
    assert delete(api, job) == 204

    status, problem, _ = api.post(headers=headers)

    assert status == 410
    assert "was deleted" in problem["detail"]
    assert created["id"] == job.id
    assert not api.pipeline.store.jobs


def test_message_of_deleted_prediction_is_dropped(api: PredictionApi) -> None:
    """The submit command and Replicate's webhook arrive after the deletion."""
    assert api.post()[0] == 201
    job = api.pipeline.store.only_job()
    api.pipeline.canceler.cancel_job(job.tenant, job.id)
    delete(api, job)

    api.pipeline.drain_messages()

    assert not api.pipeline.store.jobs
    assert not api.pipeline.replicate.predictions


@pytest.mark.parametrize(("text", "seconds"), [("7d", 7 * 86400), ("12h", 12 * 3600), (" 30d ", 30 * 86400)])
def test_retention_of_a_create_is_that_of_its_header(api: PredictionApi, text: str, seconds: int) -> None:
    status, created, _ = api.post(headers={"x-retention": text})

    job = api.pipeline.store.only_job()
    assert status == 201
    assert (job.delete_at, job.deletes_files) == (job.created_at + timedelta(seconds=seconds), True)
    assert created["proxy"]["expires_at"] == format_optional_timestamp(job.delete_at)


def test_retention_without_header_is_that_of_the_stack(api: PredictionApi) -> None:
    _, created, _ = api.post()

    job = api.pipeline.store.only_job()
    assert created["proxy"]["expires_at"] == format_optional_timestamp(job.created_at + timedelta(days=30))
    assert not job.deletes_files


@pytest.mark.parametrize(("header", "seconds"), [(None, 7 * 86400), ("12h", 12 * 3600), ("30d", 30 * 86400)])
def test_retention_of_the_tenant_applies_without_a_header(
    api: PredictionApi, header: str | None, seconds: int
) -> None:
    api.tenants.save(Tenant("acme", retention_seconds=7 * 86400))
    _, created, _ = api.post(headers={"x-retention": header} if header else {})

    job = api.pipeline.store.only_job()
    assert (job.delete_at, job.deletes_files) == (job.created_at + timedelta(seconds=seconds), True)
    assert created["proxy"]["expires_at"] == format_optional_timestamp(job.delete_at)


def test_retention_of_the_tenant_does_not_exceed_that_of_the_stack(api: PredictionApi) -> None:
    """The stack's was longer when the tenant's was set."""
    api.tenants.save(Tenant("acme", retention_seconds=90 * 86400))
    api.post()

    job = api.pipeline.store.only_job()
    assert job.delete_at == job.created_at + timedelta(days=30)


def test_retention_of_another_tenant_does_not_apply(api: PredictionApi) -> None:
    api.tenants.save(Tenant("globex", retention_seconds=3600))
    api.post()

    assert not api.pipeline.store.only_job().deletes_files


def test_retention_of_the_tenant_applies_to_batches(api: PredictionApi) -> None:
    api.tenants.save(Tenant("acme", retention_seconds=3600))
    status, _, _ = api.post("/v1/batches", {"predictions": [CREATE_BODY, CREATE_BODY]})
    file_id = api.large_batches.add_file(b'{"custom_id": "a", "version": "v", "input": {}}\n')
    large_status, large, _ = api.post("/v1/batches", {"input_file": file_id})

    jobs = api.pipeline.store.jobs.values()
    assert [status, large_status] == [201, 201]
    assert {job.delete_at for job in jobs} == {job.created_at + timedelta(hours=1) for job in jobs}
    batch = api.large_batches.store.get("acme", large["id"])
    assert batch is not None
    assert batch.large is not None
    assert batch.large.retention_seconds == 3600
    assert batch.large.delete_at == batch.created_at + timedelta(hours=1)


@pytest.mark.parametrize(
    ("resource", "body"),
    [("/v1/predictions", CREATE_BODY), ("/v1/batches", {"predictions": [CREATE_BODY]})],
)
def test_create_of_a_tenant_that_is_being_erased_is_refused(
    api: PredictionApi, resource: str, body: Any
) -> None:
    api.tenants.save(Tenant("acme", erasing_since=NOW))

    status, problem, _ = api.post(resource, body)

    assert (status, problem["title"]) == (403, "Tenant is being erased")
    assert not api.pipeline.store.jobs


@pytest.mark.parametrize(
    "text", ["", "7", "0d", "-1d", "1w", "7 d", "1.5d", "31d", "721h", "9999999d", "\u0667d"]
)
def test_invalid_retention_is_refused(api: PredictionApi, text: str) -> None:
    status, problem, _ = api.post(headers={"x-retention": text})

    assert status == 422
    assert problem["invalid_fields"][0]["field"] == "X-Retention"
    assert not api.pipeline.store.jobs
