"""Every fault that a webhook can suffer."""

import time
from typing import Any

import pytest
import standardwebhooks

from tools.simulator.client import SimulatorClient


def headers(call: Any) -> dict[str, str]:
    return {key.lower(): value for key, value in call.headers.items()}


def test_lose_sends_nothing_and_never_retries(api: Any, receiver: Any, remote: SimulatorClient) -> None:
    remote.inject_fault("webhook", "lose", event="completed")
    prediction = api.finished(output=1, webhook=receiver.url)
    assert receiver.next().status == "processing"
    assert receiver.quiet()
    assert len(remote.get_timeline(prediction["id"])["webhook_attempts"]) == 1


def test_duplicate_sends_the_same_message_again(api: Any, receiver: Any, remote: SimulatorClient) -> None:
    remote.inject_fault("webhook", "duplicate", copies=3)
    prediction = api.lab(webhook=receiver.url)
    calls = [receiver.next() for _ in range(3)]
    assert len({(call.headers["webhook-id"], call.body) for call in calls}) == 1
    assert receiver.quiet()
    kinds = [attempt["kind"] for attempt in remote.get_timeline(prediction["id"])["webhook_attempts"]]
    assert kinds == ["genuine", "duplicate", "duplicate"]


def test_reorder_delivers_the_later_event_first(api: Any, receiver: Any, remote: SimulatorClient) -> None:
    remote.inject_fault("webhook", "reorder", event="start")
    api.lab(latency=0.2, webhook=receiver.url, webhook_events_filter=["start", "completed"])
    assert [receiver.next().status for _ in range(2)] == ["succeeded", "processing"]
    assert receiver.quiet()


def test_reorder_of_the_last_event_only_makes_it_late(
    api: Any, receiver: Any, remote: SimulatorClient
) -> None:
    remote.inject_fault("webhook", "reorder", event="completed", seconds=0.3)
    api.lab(webhook=receiver.url)
    assert receiver.next().status == "succeeded"
    assert receiver.quiet()


def test_delay_lets_later_events_pass(api: Any, receiver: Any, remote: SimulatorClient) -> None:
    remote.inject_fault("webhook", "delay", event="output", seconds=0.5)
    api.lab(output=1, webhook=receiver.url)
    assert receiver.next().status == "succeeded"
    before = time.monotonic()
    assert receiver.next().status == "processing"
    assert time.monotonic() - before > 0.2


def test_forge_sends_a_false_message_besides_the_true_one(
    api: Any, receiver: Any, remote: SimulatorClient
) -> None:
    remote.inject_fault("webhook", "forge")
    api.lab(status="failed", error="true", webhook=receiver.url)
    forged, genuine = receiver.next(), receiver.next()
    verifier = standardwebhooks.Webhook(remote.webhook_secret)
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        verifier.verify(forged.body, headers(forged))
    assert forged.shown["output"] == ["https://attacker.example/forged.png"]
    assert verifier.verify(genuine.body, headers(genuine))["error"] == "true"


def test_bad_status_ignores_the_acknowledgement(api: Any, receiver: Any, remote: SimulatorClient) -> None:
    remote.inject_fault("webhook", "bad_status", status=503)
    prediction = api.lab(webhook=receiver.url)
    first, second = receiver.next(), receiver.next()
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert receiver.quiet()
    codes = [attempt["status_code"] for attempt in remote.get_timeline(prediction["id"])["webhook_attempts"]]
    assert codes == [503, 200]


def test_a_rule_can_single_out_a_job(api: Any, receiver: Any, remote: SimulatorClient) -> None:
    remote.inject_fault("webhook", "lose", contains="job=7", times=None)
    api.lab(webhook=f"{receiver.url}/?job=7")
    api.lab(webhook=f"{receiver.url}/?job=8")
    assert receiver.next().path == "/?job=8"
    assert receiver.quiet()
    assert remote.call_control_api("GET", "faults")["fired"] == {"lose": 1}
