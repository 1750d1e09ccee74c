"""The example receivers accept real webhooks over HTTP, print each event once, and reject forged ones."""

from __future__ import annotations

import json
import socket
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime
from urllib.parse import urlsplit

import pytest

from replicate_proxy.net.addresses import AddressPolicy
from replicate_proxy.net.session import GuardedSession
from replicate_proxy.webhooks.sender import HttpSender
from tests.support.delivery_pipeline import DeliveryPipeline
from tests.support.example_receivers import EXAMPLES, LANGUAGES, run_receiver, start_receiver
from tests.support.webhook_builders import TENANT, as_processing, as_succeeded, make_job

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.mark.parametrize("language", LANGUAGES)
def test_receiver_prints_each_event_once_when_delivered_twice(language: str) -> None:
    session = GuardedSession(
        AddressPolicy(allow_loopback=True), connect_timeout_seconds=3.0, read_timeout_seconds=15.0
    )
    sender = HttpSender(session, timeout_seconds=15.0, max_response_bytes=8192)
    pipeline = DeliveryPipeline(sender=sender, start=datetime.now(UTC))
    secret = pipeline.secrets.get_or_create(TENANT, now=pipeline.clock.now())[0].text

    with run_receiver(language, secret) as (url, output):
        job = make_job(webhook=url, webhook_events=("start", "output", "completed"))
        started = as_processing(job)
        pipeline.apply_changes((job, started), (started, as_succeeded(started)))
        pipeline.run_for()
        for delivery in pipeline.deliveries.list_by_job(TENANT, job.id):
            # The same ID and bytes again, as after a lost response.
            pipeline.redelivery.redeliver(TENANT, delivery.id)
        pipeline.run_for()
        printed = [json.loads(output.readline()) for _ in range(3)]

    attempts = pipeline.deliveries.list_attempts_by_job(TENANT, job.id)
    assert [attempt.status for attempt in attempts] == [204] * 6
    assert [line["event"] for line in printed] == ["start", "output", "completed"]
    assert printed[-1] == {
        "event": "completed",
        "id": job.id,
        "status": "succeeded",
        "output": ["https://cdn.example/outputs/1.webp"],
    }


def send_forged_event(url: str) -> int:
    """Send an event with a wrong signature; return the status of the response."""
    request = urllib.request.Request(  # noqa: S310 - our own loopback server
        url,
        data=b"{}",
        headers={
            "webhook-id": "msg_1",
            "webhook-timestamp": str(int(datetime.now(UTC).timestamp())),
            "webhook-signature": "v1,AAAA",
        },
    )
    with pytest.raises(urllib.error.HTTPError) as rejected:
        urllib.request.urlopen(request, timeout=10)  # noqa: S310 - our own loopback server
    rejected.value.close()
    return rejected.value.code


@pytest.mark.parametrize("language", LANGUAGES)
def test_receiver_responds_400_when_signature_is_wrong(language: str) -> None:
    with run_receiver(language, SECRET) as (url, _):
        assert send_forged_event(url) == 400


@pytest.mark.parametrize("language", LANGUAGES)
def test_receiver_goes_on_after_a_sender_that_disconnects(language: str) -> None:
    with run_receiver(language, SECRET) as (url, _):
        address = urlsplit(url)
        with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
            connection.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
            # Only a receiver that reads the body by now notices the end of the connection.
            time.sleep(0.3)
        time.sleep(0.3)
        assert send_forged_event(url) == 400


@pytest.mark.parametrize("path", ["receiver_python/receiver.py", "receiver_javascript/receiver.cjs"])
def test_example_is_short_enough_to_copy(path: str) -> None:
    assert len((EXAMPLES / path).read_text().splitlines()) < 45


@pytest.mark.parametrize("secret", [None, "", "not a secret"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_receiver_refuses_to_start_without_a_signing_secret(language: str, secret: str | None) -> None:
    result = start_receiver(language, secret)

    assert result.returncode == 1
    assert result.stderr.startswith("set WEBHOOK_SECRET to the signing secret")
    assert result.stderr.count("\n") == 1
