"""The filters of the console's list of predictions, and its pages."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from html import unescape
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from replicate_proxy.console.pages import predictions
from replicate_proxy.ids import generate_id
from replicate_proxy.jobs.model import EndReason, JobStatus
from tests.support.builders import make_job
from tests.support.console import (
    Browser,
    find_link,
    store_failed_job,
    store_job,
)


def test_later_pages_do_not_repeat_what_was_done(tenant: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictions, "PAGE_SIZE", 1)
    for _ in range(2):
        store_failed_job()
    page = tenant.get("/predictions?status=failed&notice=prediction_deleted")
    assert "The prediction is deleted" in page.text
    older = find_link(page, "Older")
    assert older is not None
    assert "The prediction is deleted" not in tenant.get(older).text
    assert parse_qs(urlsplit(older).query).keys() == {"status", "cursor"}


def test_prediction_is_opened_by_its_id_alone(operator: Browser, tenant: Browser) -> None:
    own, foreign = store_failed_job(), store_job(make_job(tenant="globex", created_at=datetime.now(UTC)))
    for browser, job in ((operator, own), (operator, foreign), (tenant, own)):
        page = browser.get(f"/predictions?id=%20{job.id}%20&status=succeeded")
        assert (page.status, page.location) == (303, f"/predictions/{job.tenant}/{job.id}")
    unknown = generate_id(datetime.now(UTC))
    for job_id in (unknown, foreign.id):
        page = tenant.get(f"/predictions?id={job_id}")
        assert page.location == f"/predictions/acme/{job_id}"
        assert tenant.get(page.location).status == 404
    for browser, job_id in ((operator, unknown), (operator, "p7x2k9q4wrm0"), (tenant, "p7x2k9q4wrm0")):
        page = browser.get(f"/predictions?id={job_id}")
        assert page.status == 400
        assert "must be the ID of a prediction here" in page.text


def test_predictions_are_filtered_as_bulk_operations_are(operator: Browser, tenant: Browser) -> None:
    """What operators see is what they act on."""
    now = datetime.now(UTC)
    old = store_job(
        make_job(JobStatus.FAILED, created_at=now - timedelta(hours=3), end_reason=EndReason.EXPIRED)
    )
    new = store_job(
        make_job(JobStatus.QUEUED, created_at=now, batch_id=generate_id(now), key_id="k2m4q6s8u0w2")
    )

    def find(browser: Browser, **query: str) -> set[str]:
        page = browser.get(f"/predictions?{urlencode(query)}")
        assert page.status == 200, page.text
        return set(re.findall(r"/console/predictions/acme/(\w+)", page.html))

    path = f"/predictions/acme/{new.id}"
    hour_ago = (now - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    for browser in (operator, tenant):
        assert find(browser, status="unfinished") == {new.id}
        assert find(browser, status="failed,queued") == {old.id, new.id}
        assert find(browser, error_class="expired") == {old.id}
        assert find(browser, batch=new.batch_id or "") == {new.id}
        assert find(browser, key="k2m4q6s8u0w2") == {new.id}
        assert find(browser, key="k2m4q6s8u0w2", status="failed") == set()
        assert find(browser, created_before=hour_ago) == {old.id}
        assert find(browser, created_after=hour_ago) == {new.id}
        assert find(browser, age="24h", created_after=hour_ago) == {new.id}
        assert find(browser, age="1h", created_after="2020-01-01T00:00:00Z") == {new.id}
    (link,) = re.findall(r'<a href="/prod/console(/predictions\?[^"]*key=\w+)"', operator.get(path).html)
    assert parse_qs(urlsplit(unescape(link)).query) == {"tenant": ["acme"], "key": ["k2m4q6s8u0w2"]}
    bulk = find_link(operator.get(unescape(link)), "Act on all that match…")
    assert bulk is not None
    assert parse_qs(urlsplit(bulk).query) == {"tenant": ["acme"], "key": ["k2m4q6s8u0w2"]}
    page = operator.get(f"/predictions?status=failed,queued&created_before={hour_ago}")
    assert "<option selected>failed,queued</option>" in page.html
    link = find_link(page, "Act on all that match…")
    assert link is not None
    assert parse_qs(urlsplit(link).query)["created_before"][0].startswith(hour_ago[:-1])
    assert "must be an ISO-8601 time with an offset" in tenant.get("/predictions?created_after=today").text
    assert "No prediction matches" in operator.get("/predictions?batch=" + generate_id(now)).text
