"""The receivers in examples/ take what is really sent to them over HTTP, once each, and refuse forgeries."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from datetime import UTC, datetime

import pytest

from replicate_proxy.net.addresses import AddressPolicy
from replicate_proxy.net.session import GuardedSession
from replicate_proxy.webhooks.sender import HttpSender
from tests.support.example_receivers import EXAMPLES, RECEIVERS, running
from tests.support.webhook_builders import TENANT, as_processing, as_succeeded, make_job
from tests.support.webhook_simulation import WebhookSimulation


@pytest.mark.parametrize("language", RECEIVERS)
def test_a_receiver_gets_every_event_once(language: str) -> None:
    session = GuardedSession(
        AddressPolicy(allow_loopback=True), connect_timeout_seconds=3.0, read_timeout_seconds=15.0
    )
    sender = HttpSender(session, timeout_seconds=15.0, max_response_bytes=8192)
    world = WebhookSimulation(sender=sender, start=datetime.now(UTC))
    secret = world.secrets.get_or_create(TENANT, now=world.clock.now())[0].text

    with running(language, secret) as (url, printed):
        job = make_job(webhook=url, webhook_events=("start", "output", "completed"))
        started = as_processing(job)
        world.apply_changes((job, started), (started, as_succeeded(started)))
        world.run_for()
        for delivery in world.deliveries.list_by_job(TENANT, job.id):
            # As after a lost answer: the same id and bytes once more.
            world.redelivery.redeliver(TENANT, delivery.id)
        world.run_for()
        told = [json.loads(printed.readline()) for _ in range(3)]
        attempts = [each.status for each in world.deliveries.list_attempts_by_job(TENANT, job.id)]

        assert attempts == [204] * 6

    assert [line["event"] for line in told] == ["start", "output", "completed"]
    assert told[-1] == {
        "event": "completed",
        "id": job.id,
        "status": "succeeded",
        "output": ["https://cdn.example/outputs/1.webp"],
    }


@pytest.mark.parametrize("language", RECEIVERS)
def test_a_receiver_refuses_what_is_not_signed(language: str) -> None:
    with running(language, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw") as (url, _):
        request = urllib.request.Request(  # noqa: S310 - our own loopback server
            url,
            data=b"{}",
            headers={
                "webhook-id": "msg_1",
                "webhook-timestamp": str(int(datetime.now(UTC).timestamp())),
                "webhook-signature": "v1,AAAA",
            },
        )
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=10)  # noqa: S310
        refused.value.close()
    assert refused.value.code == 400


@pytest.mark.parametrize("name", ["receiver_python/receiver.py", "receiver_javascript/receiver.cjs"])
def test_the_examples_stay_under_forty_lines(name: str) -> None:
    assert len((EXAMPLES / name).read_text().splitlines()) < 40
