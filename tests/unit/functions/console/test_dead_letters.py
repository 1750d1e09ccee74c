"""The console's pages of dead letters."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime

import boto3

from replicate_proxy.aws.batch_store import DynamoBatchStore
from replicate_proxy.ids import generate_id
from replicate_proxy.jobs.model import Batch
from replicate_proxy.response_size import MAX_RESPONSE_BYTES, calculate_sent_bytes
from tests.support.aws import JOBS_TABLE
from tests.support.console import (
    HOSTILE,
    Browser,
    get_job_store,
    list_audit,
    store_key,
)


def test_dead_letters_are_shown_redriven_and_discarded(operator: Browser) -> None:
    sqs, url = boto3.client("sqs"), f"{os.environ['QUEUES_PREFIX']}dispatch-dead-letters"
    for job_id in ("j1", "j2"):
        body = {"kind": "submit", "tenant": "acme", "job_id": job_id, "correlation_id": HOSTILE}
        sqs.send_message(QueueUrl=url, MessageBody=json.dumps(body))
    page = operator.get("/dead-letters/dispatch?body=true")
    assert "2 of 2 looked at" in page.text
    assert "<script>alert" not in page.html
    page = operator.post("/dead-letters/dispatch/discard", {})
    assert page.status == 422
    assert "1 message redriven" in operator.post("/dead-letters/dispatch/redrive", {"job_id": "j1"}).text
    assert "1 message discarded" in operator.post("/dead-letters/dispatch/discard", {"tenant": "acme"}).text
    assert "Every message was processed" in operator.get().text
    assert [record.source for record in list_audit()] == ["console", "console"]


def test_bodies_of_dead_letters_are_shown_as_far_as_they_fit(operator: Browser) -> None:
    sqs, url = boto3.client("sqs"), f"{os.environ['QUEUES_PREFIX']}dispatch-dead-letters"
    for _ in range(10):
        body = json.dumps({"tenant": "acme", "text": '"' * 120_000})
        sqs.send_message(QueueUrl=url, MessageBody=body)
    page = operator.get("/dead-letters/dispatch?body=true")
    assert page.status == 200
    assert "10 of 10 looked at" in page.text
    assert calculate_sent_bytes(page.html) < MAX_RESPONSE_BYTES
    shown = page.html.count('aria-label="Body"')
    assert shown > 1
    assert page.text.count("proxyctl dead-letters peek dispatch --bodies") == 10 - shown


def test_dead_letter_of_a_batch_leads_to_the_batch(operator: Browser, tenant: Browser) -> None:
    now = datetime.now(UTC)
    batch = Batch(tenant="acme", id=generate_id(now), created_at=now, public_base_url="https://p.test")
    DynamoBatchStore(boto3.client("dynamodb"), JOBS_TABLE, get_job_store()).create(batch, [])
    body = json.dumps({"tenant": "acme", "job_id": batch.id, "sequence": 1, "target": "ep_1"})
    url = f"{os.environ['QUEUES_PREFIX']}notify-dead-letters"
    boto3.client("sqs").send_message(QueueUrl=url, MessageBody=body)
    assert f"/console/predictions/acme/{batch.id}" in operator.get("/dead-letters/notify").html
    for browser in (operator, tenant):
        page = browser.get(f"/predictions/acme/{batch.id}")
        assert (page.status, page.location) == (303, f"/batches/acme/{batch.id}")
    stranger = Browser()
    stranger.sign_in(store_key(tenant="globex"))
    assert stranger.get(f"/predictions/acme/{batch.id}").status == 404
    assert operator.get(f"/predictions/acme/{generate_id(now)}").status == 404
