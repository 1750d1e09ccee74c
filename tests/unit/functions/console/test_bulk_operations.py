"""The console's pages of bulk operations."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from html import unescape

import boto3
import pytest

from replicate_proxy.aws.bulk_store import DynamoBulkStore
from replicate_proxy.bootstrap.environment import clock
from replicate_proxy.jobs.model import JobStatus
from replicate_proxy.operations.bulk.model import BulkAction, BulkStatus, JobOutcome, JobResult
from tests.support.aws import JOBS_TABLE
from tests.support.builders import make_job
from tests.support.console import Browser, count_matching, list_audit, store_job


def test_all_that_match_are_acted_on_once_confirmed(operator: Browser) -> None:
    now = datetime.now(UTC)
    for number in range(2):
        store_job(make_job(JobStatus.FAILED, created_at=now - timedelta(seconds=number + 1)))
    assert "Act on all that match" not in operator.get("/predictions").text
    listed = operator.get("/predictions?status=failed&tenant=acme")
    (link,) = re.findall(r'href="[^"]*/console(/bulk-operations/new\?[^"]*)"', listed.html)
    page = count_matching(operator, f"{unescape(link)}&action=retry")
    assert "2 predictions match" in page.text
    form = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page.html))
    del form["csrf"]

    wrong = operator.post("/bulk-operations", {**form, "expected_count": "3"})
    assert (wrong.status, "Count has changed" in wrong.text) == (409, True)
    started = operator.post("/bulk-operations", form)
    assert started.status == 303
    # A second click
    assert operator.post("/bulk-operations", form).location == started.location
    path = started.location.partition("?")[0]
    page = operator.get(path)
    assert "running" in page.text
    assert 'hx-trigger="every 2s"' in page.html
    assert path in operator.get("/bulk-operations").html

    assert operator.post(f"{path}/cancel").status == 303
    page = operator.get(path)
    assert "canceled" in page.text
    assert "hx-trigger" not in page.html
    assert [record.source for record in list_audit()] == ["console", "console"]


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ({"action": "explode", "status": "failed", "expected_count": "1"}, "must be one of"),
        ({"action": "retry", "expected_count": "1"}, "at least one criterion"),
        ({"action": "retry", "status": "failed"}, "must be the number of predictions"),
        ({"action": "retry", "status": "failed", "expected_count": "0"}, "Nothing matches"),
        ({"action": "cancel", "status": "failed", "expected_count": "1"}, "cancel applies to"),
    ],
)
def test_bulk_operation_that_cannot_be_meant_is_not_started(
    operator: Browser, form: dict[str, str], expected: str
) -> None:
    page = operator.post("/bulk-operations", form)
    assert page.status in {409, 422}
    assert expected in page.text
    assert "No bulk operations" in operator.get("/bulk-operations").text


def test_operation_with_failures_is_not_shown_as_a_plain_success(operator: Browser) -> None:
    store_job(make_job(JobStatus.FAILED, created_at=datetime.now(UTC) - timedelta(seconds=1)))
    form = {"action": "retry", "status": "failed", "expected_count": "1"}
    path = operator.post("/bulk-operations", form).location.partition("?")[0]
    store = DynamoBulkStore(boto3.client("dynamodb"), JOBS_TABLE, clock, 30)
    operation = store.get(path.rpartition("/")[2])
    assert operation is not None
    (key,) = store.list_jobs(operation, 10)
    operation = store.replace(operation.record([JobResult(key, JobOutcome.FAILED, "Not found")], tries=0))
    store.replace(operation.end(BulkStatus.SUCCEEDED, datetime.now(UTC)))

    for page in (path, "/bulk-operations"):
        assert "ended with failures" in operator.get(page).text


@pytest.mark.parametrize("count", ["", "x", "-1", "9" * 5000])
def test_count_that_is_none_is_shown_beside_the_form(operator: Browser, count: str) -> None:
    form = {"action": "retry", "status": "failed", "expected_count": count}
    page = operator.post("/bulk-operations", form)
    assert page.status == 422
    assert "expected_count must be the number" in page.text
    assert '<option value="retry" selected>' in page.html


@pytest.mark.parametrize("action", BulkAction)
def test_bulk_operation_can_be_chosen_for_each_action(operator: Browser, action: BulkAction) -> None:
    page = operator.get(f"/bulk-operations/new?action={action.value}&tenant=acme")
    assert page.status == 200
    assert f'<option value="{action.value}" selected>' in page.html


def test_bulk_operations_are_not_for_tenants(tenant: Browser, operator: Browser) -> None:
    assert "Act on all" not in tenant.get("/predictions?status=failed").text
    form = {"action": "retry", "status": "failed", "expected_count": "1"}
    assert tenant.post("/bulk-operations", form).status == 404
    assert operator.get("/bulk-operations/01kg0000000000000000000000").status == 404
    assert operator.post("/bulk-operations/odd/cancel").status == 404
