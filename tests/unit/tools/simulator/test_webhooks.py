"""Webhooks as a receiver sees them: signatures, filters, throttling, retries."""

import time
from typing import Any

import pytest
import standardwebhooks

from tools.simulator.client import SimulatorClient
from tools.simulator.timestamps import parse_timestamp
from tools.simulator.webhooks import sign


def test_signature_matches_published_example() -> None:
    """The example of the svix libraries, which the tests of Replicate's clients also use."""
    secret, message_id = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek"
    signature = sign(secret, message_id, 1614265330, b'{"test": 2432232314}')
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_default_events_arrive_in_order_and_verify(
    api: Any, receiver: Any, simulator: SimulatorClient
) -> None:
    prediction = api.create_lab(output=["x"], webhook=f"{receiver.url}/hook?job=a%20b&n=1&n=2")
    output, completed = receiver.wait_for_call(), receiver.wait_for_call()
    verifier = standardwebhooks.Webhook(simulator.webhook_secret)
    for call in (output, completed):
        assert call.path == "/hook?job=a%20b&n=1&n=2"
        assert verifier.verify(call.body, call.lower_case_headers) == call.prediction
        assert abs(time.time() - int(call.headers["webhook-timestamp"])) < 10
    assert (output.status, completed.status) == ("processing", "succeeded")
    assert output.headers["webhook-id"] != completed.headers["webhook-id"]
    assert completed.prediction == api.get_prediction(prediction["id"])


def test_signature_with_other_secret_is_invalid(api: Any, receiver: Any) -> None:
    api.create_lab(webhook=receiver.url)
    call = receiver.wait_for_call()
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook("whsec_AAAA").verify(call.body, call.lower_case_headers)


@pytest.mark.parametrize(
    ("events", "statuses"),
    [
        (["start"], ["processing"]),
        (["completed"], ["succeeded"]),
        (["start", "completed"], ["processing", "succeeded"]),
        (["start", "output", "logs", "completed"], ["processing", "processing", "processing", "succeeded"]),
    ],
)
def test_only_requested_events_are_sent(
    api: Any, receiver: Any, events: list[str], statuses: list[str]
) -> None:
    api.create_lab(output=1, logs="line\n", webhook=receiver.url, webhook_events_filter=events)
    assert [receiver.wait_for_call().status for _ in statuses] == statuses
    assert receiver.stays_quiet()


def test_logs_webhooks_are_throttled_to_two_per_second(api: Any, receiver: Any) -> None:
    lines = "".join(f"{n}\n" for n in range(50))
    api.create_lab(logs=lines, latency=1.2, webhook=receiver.url, webhook_events_filter=["logs", "completed"])
    calls = [receiver.wait_for_call()]
    while calls[-1].status == "processing":
        calls.append(receiver.wait_for_call())
    *running, last = calls
    created_at, completed_at = last.prediction["created_at"], last.prediction["completed_at"]
    run_seconds = (parse_timestamp(completed_at) - parse_timestamp(created_at)) / 1e9
    assert 1 <= len(running) <= run_seconds / 0.5 + 1, "fifty lines were logged"
    assert last.prediction["logs"] == lines


@pytest.mark.parametrize("ending", ["cancel", "fail"])
def test_failed_or_canceled_prediction_sends_webhook(api: Any, receiver: Any, ending: str) -> None:
    status = "failed" if ending == "fail" else "succeeded"
    prediction = api.create_lab(status=status, latency=60 if ending == "cancel" else 0, webhook=receiver.url)
    if ending == "cancel":
        api.call("POST", f"/v1/predictions/{prediction['id']}/cancel")
    assert receiver.wait_for_call().status == ("canceled" if ending == "cancel" else "failed")


def test_terminal_webhook_is_retried_until_acknowledged(
    api: Any, receiver: Any, simulator: SimulatorClient
) -> None:
    receiver.planned_statuses = [500, 404, 200]
    prediction = api.create_lab(webhook=receiver.url, webhook_events_filter=["completed"])
    calls = [receiver.wait_for_call() for _ in range(3)]
    assert len({call.headers["webhook-id"] for call in calls}) == 1
    assert len({call.body for call in calls}) == 1
    assert receiver.stays_quiet()
    attempts = simulator.get_timeline(prediction["id"])["webhook_attempts"]
    assert [(attempt["number"], attempt["status_code"]) for attempt in attempts] == [
        (1, 500),
        (2, 404),
        (3, 200),
    ]
    assert (simulator.get_stats()["webhooks_sent"], simulator.get_stats()["webhooks_acknowledged"]) == (3, 1)


def test_retries_end_after_about_a_minute(api: Any, receiver: Any, simulator: SimulatorClient) -> None:
    """With --webhook-retry-scale 0.01, the minute lasts 0.6 s."""
    receiver.planned_statuses = [503] * 10
    prediction = api.create_lab(webhook=receiver.url, webhook_events_filter=["completed"])
    calls = [receiver.wait_for_call() for _ in range(6)]
    assert receiver.stays_quiet(0.6)
    assert len(calls) == 6
    timeline = simulator.get_timeline(prediction["id"])
    last = timeline["webhook_attempts"][-1]["sent_at"] - timeline["completed_at"]
    assert 0.55 < last < 2


def test_intermediate_webhooks_are_not_retried(api: Any, receiver: Any) -> None:
    receiver.planned_statuses = [500]
    api.create_lab(webhook=receiver.url, webhook_events_filter=["start", "completed"])
    assert [receiver.wait_for_call().status for _ in range(2)] == ["processing", "succeeded"]
    assert receiver.stays_quiet()


def test_redirect_loses_webhook(api: Any, receiver: Any) -> None:
    receiver.planned_statuses = [301]
    api.create_lab(webhook=receiver.url, webhook_events_filter=["completed"])
    receiver.wait_for_call()
    assert receiver.stays_quiet()


def test_refused_connection_is_retried(api: Any, simulator: SimulatorClient, wait_until: Any) -> None:
    prediction = api.run_lab(webhook="http://127.0.0.1:9/hook", webhook_events_filter=["completed"])

    def list_failed_attempts() -> list[dict[str, Any]]:
        return [
            attempt
            for attempt in simulator.get_timeline(prediction["id"])["webhook_attempts"]
            if attempt["error"]
        ]

    wait_until(lambda: len(list_failed_attempts()) == 6)
    assert {attempt["status_code"] for attempt in list_failed_attempts()} == {None}


def test_disabled_webhooks_are_not_sent(api: Any, receiver: Any, simulator: SimulatorClient) -> None:
    simulator.change_settings(webhooks_enabled=False)
    api.run_lab(webhook=receiver.url)
    assert receiver.stays_quiet()
    assert simulator.get_stats()["webhooks_sent"] == 0
