"""Webhooks of jobs with private outputs: URLs are signed for each attempt, and never sent unsigned."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from replicate_proxy.errors import ConfigurationError
from replicate_proxy.jobs.model import Document
from replicate_proxy.webhooks.model import DeliveryStatus
from tests.support.delivery_pipeline import DeliveryPipeline
from tests.support.url_keys import FOLDER, PRIVATE_URL, make_signer, make_url_key, verify_signed_url
from tests.support.webhook_builders import as_succeeded, make_job
from tests.support.webhook_fakes import respond

if TYPE_CHECKING:
    from datetime import datetime

    from replicate_proxy.outputs.private_urls import PrivateUrlSigner

RECORD = {"path": [0], "outcome": "stored", "url": PRIVATE_URL, "thumbnail_url": PRIVATE_URL + "-thumb"}


class _Clock:
    """The clock of the pipeline, which exists after the signer."""

    pipeline: DeliveryPipeline

    def now(self) -> datetime:
        return self.pipeline.clock.now()


class _Key:
    """The private key, as long as it can be read."""

    is_readable = True

    def read(self) -> str:
        if not self.is_readable:
            raise ConfigurationError("cannot read secret")
        return make_url_key()[0]


@pytest.fixture
def key() -> _Key:
    return _Key()


@pytest.fixture
def private_pipeline(key: _Key) -> DeliveryPipeline:
    clock = _Clock()
    signer: PrivateUrlSigner = make_signer(clock=clock, lifetime_seconds=86400, read_private_key=key.read)
    clock.pipeline = DeliveryPipeline(sign_urls=signer.sign_urls)
    return clock.pipeline


def complete_private_job(pipeline: DeliveryPipeline) -> None:
    job = make_job(webhook_events=("completed",))
    succeeded = as_succeeded(
        job,
        output=Document(text=json.dumps([PRIVATE_URL])),
        files=Document(text=json.dumps([RECORD])),
        private_folder=FOLDER,
    )
    assert pipeline.apply_changes((job, succeeded)) is None


def test_each_attempt_has_freshly_signed_urls(private_pipeline: DeliveryPipeline) -> None:
    receiver = private_pipeline.receiver
    receiver.behavior = lambda _: respond(200 if len(receiver.received) > 1 else 500)
    complete_private_job(private_pipeline)
    private_pipeline.run_for(60)

    first, second = receiver.received
    expiries = []
    for request in (first, second):
        body = request.json()
        url, expires = verify_signed_url(body["output"][0])
        file = body["proxy"]["files"][0]
        assert url == verify_signed_url(file["url"])[0] == PRIVATE_URL
        assert verify_signed_url(file["thumbnail_url"])[0] == RECORD["thumbnail_url"]
        assert expires == int(request.received_at.timestamp()) + 86400
        expiries.append(expires)
    assert expiries[1] > expiries[0]
    assert first.headers["webhook-id"] == second.headers["webhook-id"]


def test_stored_event_has_no_signature(private_pipeline: DeliveryPipeline) -> None:
    complete_private_job(private_pipeline)
    private_pipeline.run_for()

    (event,) = private_pipeline.deliveries.list_all_events()
    assert event.private_folder == FOLDER
    assert "Signature" not in str(private_pipeline.documents.load(event.body))


def test_delivery_waits_without_attempts_while_the_key_is_missing(
    private_pipeline: DeliveryPipeline, key: _Key
) -> None:
    key.is_readable = False
    complete_private_job(private_pipeline)
    private_pipeline.run_for(600)

    (delivery,) = private_pipeline.deliveries.list_all()
    assert private_pipeline.receiver.received == []
    assert (delivery.status, delivery.total_attempts) == (DeliveryStatus.PENDING, 0)

    key.is_readable = True
    private_pipeline.run_for(120)

    (request,) = private_pipeline.receiver.accepted
    assert verify_signed_url(request.json()["output"][0])[0] == PRIVATE_URL


def test_public_webhook_needs_no_key(key: _Key, private_pipeline: DeliveryPipeline) -> None:
    key.is_readable = False
    private_pipeline.complete_job()
    private_pipeline.run_for()

    assert len(private_pipeline.receiver.accepted) == 1
