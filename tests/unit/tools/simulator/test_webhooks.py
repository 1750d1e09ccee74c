"""Webhooks as a receiver sees them: signatures, filters, throttling, retries."""

import time
from typing import Any

import pytest
import standardwebhooks

from tools.simulator import signature
from tools.simulator.client import SimulatorClient
from tools.simulator.clock import parse_iso


def test_the_published_known_answer() -> None:
    """The vector of the svix libraries, also in Replicate's own clients' tests."""
    secret, message = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek"
    signed = signature.sign(secret, message, 1614265330, b'{"test": 2432232314}')
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_both_default_events_arrive_in_order_and_verify(
    api: Any, receiver: Any, remote: SimulatorClient
) -> None:
    prediction = api.lab(output=["x"], webhook=f"{receiver.url}/hook?job=a%20b&n=1&n=2")
    output, completed = receiver.next(), receiver.next()
    verifier = standardwebhooks.Webhook(remote.webhook_secret)
    for call in (output, completed):
        assert call.path == "/hook?job=a%20b&n=1&n=2"
        assert (
            verifier.verify(call.body, {key.lower(): value for key, value in call.headers.items()})
            == call.shown
        )
        assert abs(time.time() - int(call.headers["webhook-timestamp"])) < 10
    assert (output.status, completed.status) == ("processing", "succeeded")
    assert output.headers["webhook-id"] != completed.headers["webhook-id"]
    assert completed.shown == api.get(prediction["id"])


def test_another_secret_does_not_verify(api: Any, receiver: Any) -> None:
    api.lab(webhook=receiver.url)
    call = receiver.next()
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook("whsec_AAAA").verify(
            call.body, {key.lower(): value for key, value in call.headers.items()}
        )


@pytest.mark.parametrize(
    ("events", "statuses"),
    [
        (["start"], ["processing"]),
        (["completed"], ["succeeded"]),
        (["start", "completed"], ["processing", "succeeded"]),
        (["start", "output", "logs", "completed"], ["processing", "processing", "processing", "succeeded"]),
    ],
)
def test_only_the_wanted_events_are_sent(
    api: Any, receiver: Any, events: list[str], statuses: list[str]
) -> None:
    api.lab(output=1, logs="line\n", webhook=receiver.url, webhook_events_filter=events)
    assert [receiver.next().status for _ in statuses] == statuses
    assert receiver.quiet()


def test_logs_come_at_most_every_half_second(api: Any, receiver: Any) -> None:
    lines = "".join(f"{n}\n" for n in range(50))
    api.lab(logs=lines, latency=1.2, webhook=receiver.url, webhook_events_filter=["logs", "completed"])
    calls = [receiver.next()]
    while calls[-1].status == "processing":
        calls.append(receiver.next())
    *running, last = calls
    took = (parse_iso(last.shown["completed_at"]) - parse_iso(last.shown["created_at"])) / 1e9
    assert 1 <= len(running) <= took / 0.5 + 1, "fifty lines were written"
    assert last.shown["logs"] == lines


@pytest.mark.parametrize("ending", ["cancel", "fail"])
def test_every_end_is_told(api: Any, receiver: Any, ending: str) -> None:
    status = "failed" if ending == "fail" else "succeeded"
    prediction = api.lab(status=status, latency=60 if ending == "cancel" else 0, webhook=receiver.url)
    if ending == "cancel":
        api.call("POST", f"/v1/predictions/{prediction['id']}/cancel")
    assert receiver.next().status == ("canceled" if ending == "cancel" else "failed")


def test_the_terminal_webhook_is_retried_until_acknowledged(
    api: Any, receiver: Any, remote: SimulatorClient
) -> None:
    receiver.answers = [500, 404, 200]
    prediction = api.lab(webhook=receiver.url, webhook_events_filter=["completed"])
    calls = [receiver.next() for _ in range(3)]
    assert len({call.headers["webhook-id"] for call in calls}) == 1
    assert len({call.body for call in calls}) == 1
    assert receiver.quiet()
    attempts = remote.get_timeline(prediction["id"])["webhook_attempts"]
    assert [(attempt["number"], attempt["status_code"]) for attempt in attempts] == [
        (1, 500),
        (2, 404),
        (3, 200),
    ]
    assert (remote.get_stats()["webhooks_sent"], remote.get_stats()["webhooks_acknowledged"]) == (3, 1)


def test_retries_end_after_about_a_minute(api: Any, receiver: Any, remote: SimulatorClient) -> None:
    """The simulator under test runs a hundred times as fast."""
    receiver.answers = [503] * 10
    prediction = api.lab(webhook=receiver.url, webhook_events_filter=["completed"])
    calls = [receiver.next() for _ in range(6)]
    assert receiver.quiet(0.6)
    assert len(calls) == 6
    timeline = remote.get_timeline(prediction["id"])
    last = timeline["webhook_attempts"][-1]["sent_at"] - timeline["completed_at"]
    assert 0.55 < last < 2


def test_intermediate_webhooks_are_never_retried(api: Any, receiver: Any) -> None:
    receiver.answers = [500]
    api.lab(webhook=receiver.url, webhook_events_filter=["start", "completed"])
    assert [receiver.next().status for _ in range(2)] == ["processing", "succeeded"]
    assert receiver.quiet()


def test_a_redirect_loses_the_webhook(api: Any, receiver: Any) -> None:
    receiver.answers = [301]
    api.lab(webhook=receiver.url, webhook_events_filter=["completed"])
    receiver.next()
    assert receiver.quiet()


def test_a_refused_connection_is_retried(api: Any, remote: SimulatorClient, eventually: Any) -> None:
    prediction = api.finished(webhook="http://127.0.0.1:9/hook", webhook_events_filter=["completed"])

    def attempts() -> list[dict[str, Any]]:
        return [
            attempt
            for attempt in remote.get_timeline(prediction["id"])["webhook_attempts"]
            if attempt["error"]
        ]

    eventually(lambda: len(attempts()) == 6)
    assert {attempt["status_code"] for attempt in attempts()} == {None}


def test_webhooks_can_be_switched_off(api: Any, receiver: Any, remote: SimulatorClient) -> None:
    remote.change_settings(webhooks=False)
    api.finished(webhook=receiver.url)
    assert receiver.quiet()
    assert remote.get_stats()["webhooks_sent"] == 0
