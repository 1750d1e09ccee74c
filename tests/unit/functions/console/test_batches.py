"""The console's pages of batches."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import boto3

from replicate_proxy.aws.batch_store import DynamoBatchStore
from replicate_proxy.batches.model import (
    BatchLine,
    BatchPhase,
    LineStatus,
    dump_lines,
    name_lines_object,
)
from replicate_proxy.clock import truncate_to_milliseconds
from replicate_proxy.ids import generate_id
from replicate_proxy.jobs.model import (
    Batch,
    JobStatus,
)
from tests.support.aws import JOBS_TABLE
from tests.support.builders import make_job
from tests.support.console import (
    Browser,
    get_job_store,
    list_audit,
    store_job,
    store_large_batch,
)


def test_batch_is_shown_with_its_predictions_and_canceled(operator: Browser, tenant: Browser) -> None:
    batch_id = generate_id(datetime.now(UTC))
    jobs = [
        make_job(status, revision=0, batch_id=batch_id, created_at=datetime.now(UTC))
        for status in (JobStatus.SUCCEEDED, JobStatus.QUEUED)
    ]
    batch = Batch(
        tenant="acme",
        id=batch_id,
        created_at=jobs[0].created_at,
        public_base_url="https://proxy.test",
        job_ids=tuple(job.id for job in jobs),
    )
    DynamoBatchStore(boto3.client("dynamodb"), JOBS_TABLE, get_job_store()).create(batch, jobs)
    for browser in (operator, tenant):
        assert f"/batches/acme/{batch_id}" in browser.get("/batches").html
        page = browser.get(f"/batches/acme/{batch_id}")
        assert "1 of 2 ended" in page.text
        assert all(job.id in page.html for job in jobs)
    assert "No batches" in operator.get("/batches?tenant=globex").text

    assert tenant.post(f"/batches/acme/{batch_id}/cancel").status == 303
    assert "completed" in tenant.get(f"/batches/acme/{batch_id}").text
    assert list_audit()[0].target == f"batches/acme/{batch_id}"
    assert tenant.get(f"/batches/globex/{batch_id}").status == 404
    assert tenant.get("/batches/acme/unknown").status == 404


def test_large_batch_is_shown_with_its_lines_and_canceled(operator: Browser, tenant: Browser) -> None:
    now = truncate_to_milliseconds(datetime.now(UTC))
    batch_id = generate_id(now)
    lines = [
        BatchLine(number=1, custom_id="first"),
        BatchLine(number=2, custom_id="<b>", status=LineStatus.REJECTED, error="The line is not valid JSON"),
    ]
    job = store_job(
        make_job(
            JobStatus.FAILED,
            id=lines[0].derive_job_id(batch_id),
            batch_id=batch_id,
            batch_line=1,
            created_at=now,
        )
    )
    body = dump_lines(lines)
    boto3.client("s3").put_object(Bucket="images", Key=name_lines_object("acme", batch_id, 0, "t"), Body=body)
    store = store_large_batch(batch_id, now, line_objects=("t",), lines=2, created=1, rejected=1)
    path = f"/batches/acme/{batch_id}"
    for browser in (operator, tenant):
        assert path in browser.get("/batches").html
        page = browser.get(path)
        assert page.status == 200, page.text
        assert ("Batch of 2 lines" in page.text, "rejected lines" in page.text) == (True, True)
        assert f"/predictions/acme/{job.id}" in page.html
        assert ("The line is not valid JSON" in page.text, "<b>" in page.html.partition("Lines")[2]) == (
            True,
            False,
        )
        assert browser.get(f"{path}?slice=7").status == 200
        assert browser.get(f"{path}/results").status == 404

    assert tenant.post(f"{path}/cancel").status == 303
    canceled = store.get("acme", batch_id)
    assert canceled is not None
    assert canceled.large is not None
    assert canceled.large.cancel_requested_at is not None
    assert list_audit()[0].target == f"batches/acme/{batch_id}"
    assert f"{path}/cancel" not in tenant.get(path).html
    store.replace(
        replace(canceled, large=replace(canceled.large, completed_at=now, phase=BatchPhase.COMPLETED))
    )
    assert f"{path}/results" in tenant.get(path).html
    found = tenant.get(f"{path}/results")
    assert (found.status, f"batches/acme/{batch_id}/results.jsonl" in found.headers["location"]) == (
        303,
        True,
    )
    assert tenant.get(f"/batches/globex/{batch_id}").status == 404
