from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest
from standardwebhooks import Webhook

from functions.deliver import app
from functions.notify import app as notify_app
from replicate_proxy.bootstrap import deliver as bootstrap
from replicate_proxy.bootstrap import delivery as delivery_parts
from replicate_proxy.clock import SystemClock
from replicate_proxy.net.addresses import AddressPolicy
from tests.support.delivery_stack import DeliveryStack, delivery_stack, sample
from tests.support.loopback import send_response, serve_http
from tests.unit.functions.test_notify import Context

if TYPE_CHECKING:
    from collections.abc import Iterator
    from http.server import BaseHTTPRequestHandler

# A call may have nothing to count.
pytestmark = pytest.mark.filterwarnings("ignore:No application metrics to publish")


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch) -> Iterator[DeliveryStack]:
    with delivery_stack(monkeypatch) as made:
        monkeypatch.setattr(bootstrap, "webhook_address_policy", lambda: AddressPolicy(allow_loopback=True))
        yield made


def call(*bodies: str) -> Any:
    (record,) = sample("deliver/delivery.json")["Records"]
    records = [
        {**copy.deepcopy(record), "body": body, "messageId": str(number)}
        for number, body in enumerate(bodies)
    ]
    return app.lambda_handler({"Records": records}, Context())


def tell_of_success(url: str) -> None:
    event = sample("notify/job-succeeded.json")
    for image in ("OldImage", "NewImage"):
        event["Records"][0]["dynamodb"][image]["webhook"] = {"S": url}
    notify_app.lambda_handler(event, Context())


def test_a_success_reaches_the_application_signed_and_in_order(stack: DeliveryStack) -> None:
    bodies: list[tuple[dict[str, str], bytes]] = []

    def receive(handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["content-length"]))
        bodies.append((dict(handler.headers), body))
        send_response(handler)

    with serve_http(receive) as server:
        tell_of_success(server.url("/hook"))
        while messages := stack.messages():
            assert call(*messages) == {"batchItemFailures": []}

    secret = delivery_parts.signing_secret_store().get_or_create("acme", now=SystemClock().now())[0].text
    told = [Webhook(secret).verify(body, headers) for headers, body in bodies]
    assert [body["proxy"]["event"] for body in told] == ["output", "completed"]
    assert [body["status"] for body in told] == ["processing", "succeeded"]


def test_a_failure_waits_on_the_queue_for_its_retry(stack: DeliveryStack) -> None:
    with serve_http(lambda handler: send_response(handler, b"no", status=500)) as server:
        tell_of_success(server.url("/hook"))
        (message,) = stack.messages()
        assert call(message) == {"batchItemFailures": []}

    attributes = stack.sqs.get_queue_attributes(
        QueueUrl=stack.queue_url, AttributeNames=["ApproximateNumberOfMessagesDelayed"]
    )
    assert attributes["Attributes"]["ApproximateNumberOfMessagesDelayed"] == "1"
    command = json.loads(message)
    (attempt,) = delivery_parts.delivery_store().list_attempts_by_job("acme", command["job_id"])
    assert (attempt.status, attempt.response_body) == (500, "no")


def test_a_message_that_is_no_command_goes_back_to_the_queue(stack: DeliveryStack) -> None:
    reply = call(sample("deliver/not-a-command.json")["Records"][0]["body"])
    assert reply == {"batchItemFailures": [{"itemIdentifier": "0"}]}


def test_a_command_for_a_delivery_that_is_gone_is_done(stack: DeliveryStack) -> None:
    assert call(sample("deliver/delivery.json")["Records"][0]["body"]) == {"batchItemFailures": []}
