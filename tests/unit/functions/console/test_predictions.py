"""The console's pages of predictions."""

from __future__ import annotations

import json
import os
import re
from datetime import UTC, datetime, timedelta
from html import unescape
from urllib.parse import parse_qs, urlencode, urlsplit

import boto3
import pytest

from replicate_proxy.console.pages import predictions
from replicate_proxy.jobs.model import (
    Document,
    EndReason,
    JobStatus,
    Submission,
    SubmissionKind,
    TimelineStep,
    Waiting,
    WaitReason,
)
from replicate_proxy.response_size import MAX_RESPONSE_BYTES, calculate_sent_bytes
from tests.support.builders import make_job
from tests.support.console import (
    HOSTILE,
    Browser,
    count_matching,
    get_job_store,
    list_audit,
    make_finished_job,
    store_document,
    store_job,
)
from tests.support.url_keys import verify_signed_url


def test_hostile_texts_are_shown_as_text(operator: Browser) -> None:
    job = make_finished_job(
        input=Document(text=json.dumps({"prompt": HOSTILE})),
        error=HOSTILE,
        model=HOSTILE,
        logs=Document(text=json.dumps(HOSTILE)),
        output=Document(text=json.dumps(["javascript:alert(1)", HOSTILE])),
        webhook="javascript:alert(1)",
        files=Document(
            text=json.dumps(
                [
                    {
                        "path": [0],
                        "outcome": "stored",
                        "url": "javascript:alert(1)",
                        "thumbnail_url": "https://cdn.test.evil.test/a",
                        "reason": HOSTILE,
                    }
                ]
            )
        ),
    )
    for path in (
        f"/predictions/acme/{job.id}",
        "/predictions?tenant=acme",
        f"/predictions/acme/{job.id}/run",
    ):
        html = operator.get(path).html
        assert "<script>alert" not in html
        assert "<img src=x" not in html
        assert 'href="javascript' not in html
        assert "evil.test" not in re.sub(r"<pre.*?</pre>", "", html, flags=re.DOTALL)
        assert "&lt;script&gt;alert(1)" in html


def test_prediction_shows_files_cost_and_times(tenant: Browser) -> None:
    job = make_finished_job()
    page = tenant.get(f"/predictions/acme/{job.id}")
    assert 'src="https://cdn.test/thumbs/a.webp"' in page.html
    assert "2 kB → 1 kB −50 %" in page.text
    assert "64 × 64" in page.text
    assert "q 80 · score 71" in page.text
    assert "1 image × $0.003" in page.text
    assert "in our queue" in page.text
    assert f'<time datetime="{job.created_at.isoformat(timespec="milliseconds")[:19]}' in page.html


def test_output_that_is_too_large_for_a_page_is_left_out(tenant: Browser) -> None:
    job = make_finished_job(output=store_document(["<tok>"] * 300_000))
    page = tenant.get(f"/predictions/acme/{job.id}")
    assert page.status == 200
    assert calculate_sent_bytes(page.html) < MAX_RESPONSE_BYTES
    url = f"GET {job.public_base_url}/v1/predictions/{job.id}"
    assert page.text.count(f"too large for this page. The API returns it: {url}.") == 2
    assert "Where the time went" in page.text


def test_first_of_many_files_are_shown(tenant: Browser) -> None:
    records = [{"path": [index], "outcome": "stored", "url": "https://cdn.test/a"} for index in range(1000)]
    job = make_finished_job(files=Document(text=json.dumps(records)))
    page = tenant.get(f"/predictions/acme/{job.id}")
    assert page.html.count('<div class="file">') == 200
    assert "The first 200 of 1,000 are shown" in page.text


def test_page_that_is_too_large_for_a_response_is_an_error(tenant: Browser) -> None:
    job = make_finished_job(input=store_document({"prompt": "<" * 2_000_000}))
    page = tenant.get(f"/predictions/acme/{job.id}/run")
    assert page.status == 500
    assert "Page too large" in page.text
    assert calculate_sent_bytes(page.html) < MAX_RESPONSE_BYTES


def test_private_files_are_shown_by_signed_urls(tenant: Browser) -> None:
    folder = "private/aa/bb/"
    url = f"https://cdn.test/{folder}00/a.webp"
    record = {"path": [0], "outcome": "stored", "url": url, "thumbnail_url": f"{url}-thumb"}
    job = make_finished_job(
        files=Document(text=json.dumps([record])),
        output=Document(text=json.dumps([url])),
        private_folder=folder,
    )

    shown = unescape(tenant.get(f"/predictions/acme/{job.id}").html)
    listed = unescape(tenant.get("/predictions").html)

    for page in (shown, listed):
        (thumbnail,) = re.findall(r'src="(https://cdn.test/private/[^"]+)"', page)
        assert verify_signed_url(thumbnail)[0] == f"{url}-thumb"
    (link,) = set(re.findall(r'href="(https://cdn.test/private/[^"]+)"', shown))
    assert verify_signed_url(link)[0] == url


def test_list_filters_and_pages(tenant: Browser) -> None:
    now = datetime.now(UTC)
    jobs = [
        store_job(
            make_job(
                JobStatus.FAILED if index % 2 else JobStatus.SUCCEEDED,
                created_at=now - timedelta(minutes=index),
                model="acme/flux",
            )
        )
        for index in range(120)
    ]
    first = tenant.get("/predictions")
    assert first.html.count("/console/predictions/acme/") == 50
    (following,) = re.findall(r'rel="next" href="/prod/console([^"]+)"', first.html)
    second = tenant.get(following.replace("&amp;", "&"))
    assert jobs[0].id in first.html
    assert jobs[50].id in second.html
    failed = tenant.get("/predictions?status=failed&age=1h")
    assert failed.html.count("/console/predictions/acme/") == 30
    assert "No prediction matches" in tenant.get("/predictions?model=acme%2Fother").text
    assert tenant.get("/predictions?status=lost").status == 400


@pytest.mark.parametrize("name", ["path", "self", "template", "odd name"])
def test_next_page_keeps_parameters_of_any_name(
    tenant: Browser, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(predictions, "PAGE_SIZE", 1)
    for _ in range(2):
        make_finished_job()
    page = tenant.get(f"/predictions?{urlencode({name: 'x'})}")
    assert page.status == 200
    (next_url,) = re.findall(r'rel="next" href="([^"]*)"', page.html)
    assert parse_qs(urlsplit(unescape(next_url)).query).keys() == {name, "cursor"}


def test_waiting_and_progress_are_shown(tenant: Browser) -> None:
    now = datetime.now(UTC)
    waiting = Waiting(reason=WaitReason.TOKEN_REJECTED, until=now + timedelta(seconds=50))
    in_line = Waiting(reason=WaitReason.CONCURRENCY_LIMIT, limit="tenant/acme", max_concurrency=3)
    rejected = store_job(make_job(created_at=now, waiting=waiting))
    held = store_job(make_job(created_at=now, waiting=in_line))
    bar = Document(text=json.dumps(" 42%|████▏     | 21/50 [00:01<00:02]"))
    running = store_job(make_job(JobStatus.PROCESSING, created_at=now, logs=bar))

    assert "rejects the token" in tenant.get(f"/predictions/acme/{rejected.id}").text
    assert "(tenant, 3 at a time). 0 ahead" in tenant.get(f"/predictions/acme/{held.id}").text
    assert "21 of 50, 42 %" in tenant.get(f"/predictions/acme/{running.id}").text
    overview = tenant.get("").text
    assert "Processing 1" in overview
    assert "1 queued Replicate rejects the token" in overview
    assert "no limit" in overview


def test_list_says_why_predictions_wait(operator: Browser) -> None:
    """The overview has numbers by status only, and leads there."""
    now = datetime.now(UTC)
    store_job(make_job(created_at=now, waiting=Waiting(reason=WaitReason.RATE_LIMIT)))
    # The reason of an earlier wait is of no interest.
    store_job(make_job(JobStatus.PROCESSING, created_at=now, waiting=Waiting(reason=WaitReason.CIRCUIT_OPEN)))
    unknown = store_job(make_job(JobStatus.SUBMIT_UNKNOWN, created_at=now))

    shown = operator.get("/predictions?status=unfinished").text

    assert "The rate limit of creates is used up" in shown
    assert "circuit breaker" not in shown
    assert "It is not known whether Replicate accepted the request" in shown
    page = operator.get(f"/predictions/acme/{unknown.id}").text
    assert "It is not known whether Replicate accepted the request" in page


def test_metadata_is_shown_and_filtered_by(tenant: Browser, operator: Browser) -> None:
    now = datetime.now(UTC)
    job = store_job(make_job(JobStatus.SUCCEEDED, created_at=now, metadata={"order": "4 & 2", "user": "7"}))
    other = store_job(make_job(JobStatus.SUCCEEDED, created_at=now, metadata={"order": "43"}))

    shown = tenant.get(f"/predictions/acme/{job.id}")
    (link,) = re.findall(r'href="[^"]*/console(/predictions\?metadata=order[^"]*)"', shown.html)
    found = tenant.get(unescape(link))
    assert (job.id in found.html, other.id in found.html) == (True, False)
    assert "must be pairs" in tenant.get("/predictions?metadata=order").text

    # The filter is kept on the way to a bulk operation.
    listed = operator.get(unescape(link))
    (link,) = re.findall(r'href="[^"]*/console(/bulk-operations/new\?[^"]*)"', listed.html)
    page = count_matching(operator, f"{unescape(link)}&action=redeliver")
    assert "1 prediction matches" in page.text
    form = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page.html))
    assert unescape(form["metadata"]) == "order=4 & 2"


def test_run_again_creates_a_prediction_with_the_edited_input(tenant: Browser) -> None:
    job = make_finished_job(
        submission=Submission(kind=SubmissionKind.MODEL, owner="acme", name="flux"),
        requested_model=None,
        metadata={"order": "42", "user": "7"},
    )
    page = tenant.get(f"/predictions/acme/{job.id}/run")
    assert "a cat" in page.html
    page = tenant.post(f"/predictions/acme/{job.id}/run", {"input": '{"prompt": "a dog"}'})
    assert page.status == 303
    created_id = page.location.split("/")[3].partition("?")[0]
    created = get_job_store().get("acme", created_id)
    assert created is not None
    assert (created.id != job.id, created.input.text) == (True, '{"prompt":"a dog"}')
    assert created.metadata == job.metadata
    assert created.public_base_url == "https://proxy.test/prod"
    queue = os.environ["DISPATCH_QUEUE_URL"]
    (message,) = boto3.client("sqs").receive_message(QueueUrl=queue)["Messages"]
    assert json.loads(message["Body"])["job_id"] == created.id
    (record,) = list_audit()
    assert (record.action, record.source) == ("prediction.create", "console")
    assert record.target == f"jobs/acme/{job.id}"
    assert json.loads(record.after) == {"id": created.id, "model": "acme/flux"}


def test_operator_runs_again_for_the_tenant(operator: Browser) -> None:
    job = make_finished_job(submission=Submission(kind=SubmissionKind.MODEL, owner="acme", name="flux"))
    page = operator.post(f"/predictions/acme/{job.id}/run", {"input": "{}"})
    assert page.location.startswith("/predictions/acme/")


@pytest.mark.parametrize(("text", "expected"), [("{", "is not JSON"), ("[]", "input")])
def test_run_again_shows_the_typed_input_with_what_is_wrong(
    tenant: Browser, text: str, expected: str
) -> None:
    job = make_finished_job()
    page = tenant.post(f"/predictions/acme/{job.id}/run", {"input": text})
    assert page.status == 422
    assert expected in page.text
    assert f">{text}</textarea>" in page.html


def test_cancel_is_requested_and_recorded(tenant: Browser) -> None:
    job = store_job(make_job(JobStatus.QUEUED, created_at=datetime.now(UTC)))
    assert "Cancel" in tenant.get(f"/predictions/acme/{job.id}").text
    page = tenant.post(f"/predictions/acme/{job.id}/cancel")
    assert page.status == 303
    stored = get_job_store().get("acme", job.id)
    assert stored is not None
    assert stored.status is JobStatus.CANCELED
    assert [record.action for record in list_audit()] == ["job.cancel"]


def test_too_late_cancel_says_so(tenant: Browser) -> None:
    job = make_finished_job()
    page = tenant.post(f"/predictions/acme/{job.id}/cancel")
    assert (page.status, "Job has ended" in page.text) == (409, True)


def test_ended_prediction_is_deleted(tenant: Browser) -> None:
    job = make_finished_job()
    path = f"/predictions/acme/{job.id}"
    assert "Delete the prediction" in tenant.get(path).text

    page = tenant.post(f"{path}/delete")

    assert "/predictions" in page.location
    assert tenant.get(path).status == 404
    assert tenant.post(f"{path}/delete").status == 404
    assert {record.action for record in list_audit()} == {"job.delete"}


def test_operator_retries_a_failed_prediction_once(operator: Browser, tenant: Browser) -> None:
    job = store_job(make_job(JobStatus.FAILED, created_at=datetime.now(UTC), end_reason=EndReason.REPORTED))
    path = f"/predictions/acme/{job.id}"
    assert "Retry" in operator.get(path).text
    first, second = operator.post(f"{path}/retry"), operator.post(f"{path}/retry")
    assert first.location == second.location
    assert job.id not in first.location
    assert {record.action for record in list_audit()} == {"job.retry"}
    page = operator.post(f"{path}/redeliver")
    assert (page.status, "No deliveries" in page.text) == (409, True)
    page = operator.post(f"{path}/harvest")
    assert (page.status, "No output" in page.text) == (409, True)
    assert "Retry" not in tenant.get(path).text
    for action in ("retry", "harvest", "redeliver"):
        assert tenant.post(f"{path}/{action}").status == 404


def test_operator_acts_on_a_prediction_and_sees_its_story(operator: Browser, tenant: Browser) -> None:
    now = datetime.now(UTC)
    job = store_job(
        make_job(
            JobStatus.FAILED,
            created_at=now,
            error="bad input",
            end_reason=EndReason.REPORTED,
            timeline={TimelineStep.ACCEPTED: now, TimelineStep.FINISHED: now + timedelta(seconds=2)},
        )
    )
    path = f"/predictions/acme/{job.id}"
    assert "Read on in the logs" in operator.get(path).text
    assert "Story" not in tenant.get(path).text
    refused = operator.post(f"{path}/harvest")
    assert refused.status == 409
    assert operator.post(f"{path}/redeliver").status == 409
    retried = operator.post(f"{path}/retry")
    assert retried.status == 303
    assert retried.location.endswith("notice=retried")
    assert "job.retry" in operator.get(path).text
    assert tenant.post(f"{path}/retry").status == 404
