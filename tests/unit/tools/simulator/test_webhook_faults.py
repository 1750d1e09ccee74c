"""Every kind of fault of a webhook."""

import time
from typing import Any

import pytest
import standardwebhooks

from tools.simulator.client import SimulatorClient


def test_lose_sends_nothing_and_does_not_retry(api: Any, receiver: Any, simulator: SimulatorClient) -> None:
    simulator.inject_fault("webhook", "lose", event="completed")
    prediction = api.run_lab(output=1, webhook=receiver.url)
    assert receiver.wait_for_call().status == "processing"
    assert receiver.stays_quiet()
    assert len(simulator.get_timeline(prediction["id"])["webhook_attempts"]) == 1


def test_duplicate_sends_same_message_again(api: Any, receiver: Any, simulator: SimulatorClient) -> None:
    simulator.inject_fault("webhook", "duplicate", copies=3)
    prediction = api.create_lab(webhook=receiver.url)
    calls = [receiver.wait_for_call() for _ in range(3)]
    assert len({(call.headers["webhook-id"], call.body) for call in calls}) == 1
    assert receiver.stays_quiet()
    kinds = [attempt["kind"] for attempt in simulator.get_timeline(prediction["id"])["webhook_attempts"]]
    assert kinds == ["genuine", "duplicate", "duplicate"]


def test_reorder_delivers_later_event_first(api: Any, receiver: Any, simulator: SimulatorClient) -> None:
    simulator.inject_fault("webhook", "reorder", event="start")
    api.create_lab(latency=0.2, webhook=receiver.url, webhook_events_filter=["start", "completed"])
    assert [receiver.wait_for_call().status for _ in range(2)] == ["succeeded", "processing"]
    assert receiver.stays_quiet()


def test_reorder_of_last_event_delays_it(api: Any, receiver: Any, simulator: SimulatorClient) -> None:
    simulator.inject_fault("webhook", "reorder", event="completed", seconds=0.3)
    api.create_lab(webhook=receiver.url)
    assert receiver.wait_for_call().status == "succeeded"
    assert receiver.stays_quiet()


def test_delay_lets_later_events_overtake(api: Any, receiver: Any, simulator: SimulatorClient) -> None:
    simulator.inject_fault("webhook", "delay", event="output", seconds=0.5)
    api.create_lab(output=1, webhook=receiver.url)
    assert receiver.wait_for_call().status == "succeeded"
    before = time.monotonic()
    assert receiver.wait_for_call().status == "processing"
    assert time.monotonic() - before > 0.2


def test_forge_sends_false_message_before_genuine_one(
    api: Any, receiver: Any, simulator: SimulatorClient
) -> None:
    simulator.inject_fault("webhook", "forge")
    api.create_lab(status="failed", error="true", webhook=receiver.url)
    forged, genuine = receiver.wait_for_call(), receiver.wait_for_call()
    verifier = standardwebhooks.Webhook(simulator.webhook_secret)
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        verifier.verify(forged.body, forged.lower_case_headers)
    assert forged.prediction["output"] == ["https://attacker.example/forged.png"]
    assert verifier.verify(genuine.body, genuine.lower_case_headers)["error"] == "true"


def test_bad_status_overrides_acknowledgement(api: Any, receiver: Any, simulator: SimulatorClient) -> None:
    simulator.inject_fault("webhook", "bad_status", status=503)
    prediction = api.create_lab(webhook=receiver.url)
    first, second = receiver.wait_for_call(), receiver.wait_for_call()
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert receiver.stays_quiet()
    codes = [
        attempt["status_code"] for attempt in simulator.get_timeline(prediction["id"])["webhook_attempts"]
    ]
    assert codes == [503, 200]


def test_rule_matches_webhooks_of_one_job(api: Any, receiver: Any, simulator: SimulatorClient) -> None:
    simulator.inject_fault("webhook", "lose", contains="job=7", times=None)
    api.create_lab(webhook=f"{receiver.url}/?job=7")
    api.create_lab(webhook=f"{receiver.url}/?job=8")
    assert receiver.wait_for_call().path == "/?job=8"
    assert receiver.stays_quiet()
    assert simulator.call_control_api("GET", "faults")["fired"] == {"lose": 1}
