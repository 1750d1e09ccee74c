"""The console's pages of deliveries and webhook endpoints."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest

from replicate_proxy.aws.delivery_store import DynamoDeliveryStore
from replicate_proxy.clock import truncate_to_milliseconds
from replicate_proxy.console.pages import deliveries, predictions
from replicate_proxy.ids import generate_id
from replicate_proxy.webhooks import redelivery
from replicate_proxy.webhooks.model import DeliveryStatus, EventKind
from tests.support.aws import DELIVERIES_TABLE
from tests.support.console import (
    Browser,
    find_link,
    list_audit,
    store_ended_delivery,
    store_failed_job,
    store_large_batch,
)
from tests.support.webhook_builders import make_attempt, make_delivery


def test_endpoint_is_registered_disabled_enabled_tested_and_deleted(tenant: Browser) -> None:
    created = tenant.post("/endpoints/acme", {"url": "https://example.com/hook", "events": ["completed"]})
    assert created.status == 200
    assert "whsec_" in created.text
    (path,) = re.findall(r"/console(/endpoints/acme/ep_\w+)", created.html)
    assert tenant.post(f"{path}/disable").status == 303
    assert "disabled" in tenant.get(path).text
    assert tenant.post(f"{path}/enable").status == 303
    assert tenant.post(f"{path}/test").status == 303
    shown = tenant.get(path)
    assert "test event" in shown.text
    assert "whsec_" not in shown.text
    assert tenant.post("/deliveries/acme/resend", {"hours": "24"}).status == 200
    assert tenant.post(f"{path}/delete").status == 303
    assert tenant.get(path).status == 404
    actions = {record.action for record in list_audit()}
    assert actions >= {"endpoint.create", "endpoint.update", "endpoint.test", "endpoint.delete"}


def test_resend_of_failed_goes_on_after_its_first_page(
    tenant: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redelivery, "_PAGE_SIZE", 1)
    monkeypatch.setattr(redelivery, "_MAX_PAGES", 1)
    created_at = truncate_to_milliseconds(datetime.now(UTC)) - timedelta(hours=2)
    for number, status in enumerate(("succeeded", "failed", "failed")):
        store_ended_delivery(created_at + timedelta(seconds=number), status=DeliveryStatus(status))
    form, forms, titles = {"hours": "24"}, list[dict[str, str]](), list[str]()
    while form and len(titles) < 9:
        page = tenant.post("/deliveries/acme/resend", form)
        titles += re.findall(r"<h1>(.*?)</h1>", page.html)
        form = dict(re.findall(r'name="(hours|since|cursor)" value="([^"]*)"', page.html))
        forms.append(form)
    assert titles[:3] == [
        "0 deliveries are enqueued again",
        "1 delivery is enqueued again",
        "1 delivery is enqueued again",
    ]
    assert len({form["since"] for form in forms if form}) == 1
    assert "There are more deliveries" not in page.text


def test_webhook_of_a_batch_leads_to_the_batch(tenant: Browser) -> None:
    now = truncate_to_milliseconds(datetime.now(UTC))
    delivery = store_ended_delivery(now, kind=EventKind.BATCH_COMPLETED)
    path = f"/batches/acme/{delivery.job_id}"
    store_large_batch(delivery.job_id, now)
    page = tenant.get("/deliveries")
    assert re.findall(rf'href="/prod/console([^"]*{delivery.job_id})"', page.html) == [path]
    sent = tenant.post(f"/deliveries/acme/{delivery.id}/redeliver", {"back": "prediction"})
    assert (sent.status, sent.location.partition("?")[0]) == (303, path)
    shown = tenant.get(sent.location)
    assert (shown.status, "Batch of 0 lines" in shown.text) == (200, True)
    assert "The delivery is enqueued again." in shown.text


def test_pending_deliveries_say_what_they_wait_for(tenant: Browser) -> None:
    """The time from which each may be sent has passed for all but one."""
    now = truncate_to_milliseconds(datetime.now(UTC))
    store = DynamoDeliveryStore(boto3.client("dynamodb"), DELIVERIES_TABLE, due_shards=4)
    past, job_id = now - timedelta(minutes=9), generate_id(now)
    pending: tuple[dict[str, Any], ...] = (
        {"next_attempt_at": now + timedelta(minutes=25), "kind": EventKind.START, "job_id": job_id},
        {"kind": EventKind.OUTPUT, "job_id": job_id},
        {"job_id": job_id},
        {"lease_until": now + timedelta(minutes=1)},
        {"paused_since": past},
        {},
    )
    for number, fields in enumerate(pending, start=1):
        others = {"tenant": "acme", "job_id": generate_id(now), "created_at": past, "next_attempt_at": past}
        store.create(make_delivery(**{**others, "sequence": number, **fields}))
    cells = re.findall(r'data-label="Next attempt">(.*?)</td>', tenant.get("/deliveries").html)
    texts = sorted(re.sub("<[^>]*>", "", cell) for cell in cells)
    assert texts == sorted(
        ["in 24 min", "after start 1", "after output 2", "in progress", "after the pause", "due now"]
    )


def test_resend_with_a_forged_position_is_rejected(tenant: Browser) -> None:
    for field in ("cursor", "since"):
        assert tenant.post("/deliveries/acme/resend", {"hours": "24", field: "x"}).status in {400, 422}


def test_forbidden_url_is_shown_beside_the_form(tenant: Browser) -> None:
    page = tenant.post("/endpoints/acme", {"url": "http://169.254.169.254/"})
    assert page.status == 422
    assert 'value="http://169.254.169.254/"' in page.html


def store_deliveries(count: int) -> None:
    store = DynamoDeliveryStore(boto3.client("dynamodb"), DELIVERIES_TABLE, due_shards=4)
    now = datetime.now(UTC)
    for age in range(count):
        created_at = now - timedelta(seconds=age)
        store.create(make_delivery(tenant="acme", job_id=generate_id(created_at), created_at=created_at))


def test_deliveries_lead_to_the_newest_from_every_page(
    tenant: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "_PAGE_SIZE", 1)
    store_deliveries(2)
    first = tenant.get("/deliveries")
    assert find_link(first, "Newest") is None
    older = find_link(first, "Older")
    assert older is not None
    assert find_link(tenant.get(older), "Newest") == "/deliveries"


@pytest.mark.parametrize("paused", ["acme", ""])
def test_deliveries_say_that_webhooks_are_paused(operator: Browser, tenant: Browser, paused: str) -> None:
    """Their next attempts are in the past meanwhile."""
    tenant.post("/endpoints/acme", {"url": "https://app.example/hook"})
    endpoint_id = re.findall(r"/endpoints/acme/(\w+)", tenant.get("/deliveries").html)[0]
    paths = ("/deliveries?tenant=acme", f"/endpoints/acme/{endpoint_id}")
    assert not any("are paused" in operator.get(path).text for path in paths)
    operator.post("/pause", {"activity": "deliveries", "tenant": paused, "reason": "maintenance"})
    for browser in (operator, tenant):
        for path in paths:
            assert "Webhooks are paused. maintenance" in browser.get(path).text
    assert ("are paused" in operator.get("/deliveries?tenant=globex").text) == (paused == "")


def test_older_deliveries_are_found_after_an_endpoint_was_refused(
    tenant: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "_PAGE_SIZE", 1)
    store_deliveries(2)
    page = tenant.post("/endpoints/acme", {"url": "ftp://example.com"})
    assert page.status == 422
    older = find_link(page, "Older")
    assert older is not None
    assert tenant.get(older).status == 200


def test_prediction_with_many_webhooks_fits_into_a_page(
    operator: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictions, "_MAX_ROWS", 2)
    job = store_failed_job()
    store = DynamoDeliveryStore(boto3.client("dynamodb"), DELIVERIES_TABLE, due_shards=4)
    for sequence in range(3):
        store.create(make_delivery(tenant="acme", job_id=job.id, sequence=sequence))
        store.record_attempt(make_attempt(tenant="acme", job_id=job.id, sequence=sequence))
    page = operator.get(f"/predictions/acme/{job.id}")
    assert page.text.count("The last 2 of 3 are shown") == 2
    assert "Resend completed 0" not in page.html
    assert "Resend completed 2" in page.html
    # The story has the deliveries, their attempts, and the steps.
    assert re.search(r"The last 2 of [1-9]\d are shown|The last 2 of [7-9] are shown", page.text)
    assert "All 3 are sent again" in page.text
