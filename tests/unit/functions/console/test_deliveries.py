"""The console's pages of deliveries and webhook endpoints."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from replicate_proxy.clock import truncate_to_milliseconds
from replicate_proxy.webhooks import redelivery
from replicate_proxy.webhooks.model import DeliveryStatus, EventKind
from tests.support.console import (
    Browser,
    list_audit,
    store_ended_delivery,
    store_large_batch,
)


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


def test_resend_with_a_forged_position_is_rejected(tenant: Browser) -> None:
    for field in ("cursor", "since"):
        assert tenant.post("/deliveries/acme/resend", {"hours": "24", field: "x"}).status in {400, 422}


def test_forbidden_url_is_shown_beside_the_form(tenant: Browser) -> None:
    page = tenant.post("/endpoints/acme", {"url": "http://169.254.169.254/"})
    assert page.status == 422
    assert 'value="http://169.254.169.254/"' in page.html
