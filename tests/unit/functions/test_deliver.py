"""The deliver function on moto, with a real receiver on loopback."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest
from standardwebhooks import Webhook

from functions.deliver import app
from functions.notify import app as notify_app
from replicate_proxy.bootstrap import deliver, delivery
from replicate_proxy.clock import SystemClock
from replicate_proxy.net.addresses import AddressPolicy
from tests.support.delivery_stack import DeliveryStack, run_delivery_stack
from tests.support.handlers import CONTEXT, load_event
from tests.support.loopback import send_response, serve_http

if TYPE_CHECKING:
    from collections.abc import Iterator
    from http.server import BaseHTTPRequestHandler


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch) -> Iterator[DeliveryStack]:
    with run_delivery_stack(monkeypatch) as stack:
        monkeypatch.setattr(
            deliver, "build_webhook_address_policy", lambda: AddressPolicy(allow_loopback=True)
        )
        yield stack


def invoke_deliver(*bodies: str) -> Any:
    """Invoke the function with messages whose IDs are their indexes."""
    (record,) = load_event("deliver/delivery")["Records"]
    records = [
        {**copy.deepcopy(record), "body": body, "messageId": str(index)} for index, body in enumerate(bodies)
    ]
    return app.lambda_handler({"Records": records}, CONTEXT)


def complete_job(webhook_url: str) -> None:
    """Invoke notify with a job that succeeds and has this webhook."""
    event = load_event("notify/job_succeeded")
    for image in ("OldImage", "NewImage"):
        event["Records"][0]["dynamodb"][image]["webhook"] = {"S": webhook_url}
    notify_app.lambda_handler(event, CONTEXT)


def test_success_is_delivered_signed_and_in_order(stack: DeliveryStack) -> None:
    requests: list[tuple[dict[str, str], bytes]] = []

    def receive(handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["content-length"]))
        requests.append((dict(handler.headers), body))
        send_response(handler)

    with serve_http(receive) as server:
        complete_job(server.url("/hook"))
        while messages := stack.receive_messages():
            assert invoke_deliver(*messages) == {"batchItemFailures": []}

    (secret,) = delivery.build_signing_secret_store().get_or_create("acme", now=SystemClock().now())
    events = [Webhook(secret.text).verify(body, headers) for headers, body in requests]
    assert [event["proxy"]["event"] for event in events] == ["output", "completed"]
    assert [event["status"] for event in events] == ["processing", "succeeded"]


def test_failed_delivery_is_enqueued_with_a_delay(stack: DeliveryStack) -> None:
    with serve_http(lambda handler: send_response(handler, b"no", status=500)) as server:
        complete_job(server.url("/hook"))
        (message,) = stack.receive_messages()
        assert invoke_deliver(message) == {"batchItemFailures": []}

    queue = stack.sqs.get_queue_attributes(
        QueueUrl=stack.queue_url, AttributeNames=["ApproximateNumberOfMessagesDelayed"]
    )
    assert queue["Attributes"]["ApproximateNumberOfMessagesDelayed"] == "1"
    job_id = json.loads(message)["job_id"]
    (attempt,) = delivery.build_delivery_store().list_attempts_by_job("acme", job_id)
    assert (attempt.status, attempt.response_body) == (500, "no")


def test_message_that_is_no_command_is_retried(stack: DeliveryStack) -> None:
    (record,) = load_event("deliver/invalid_command")["Records"]
    assert invoke_deliver(record["body"]) == {"batchItemFailures": [{"itemIdentifier": "0"}]}


def test_command_for_unknown_delivery_is_dropped(stack: DeliveryStack) -> None:
    (record,) = load_event("deliver/delivery")["Records"]
    assert invoke_deliver(record["body"]) == {"batchItemFailures": []}
