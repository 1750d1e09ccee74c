"""Webhooks to a receiver of the application: signatures, events, retries."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from replicate.client import Client
from replicate.webhook import InvalidSignatureError, Webhooks, WebhookSigningSecret
from standardwebhooks import Webhook

from replicate_proxy.aws.delivery_store import DynamoDeliveryStore
from replicate_proxy.webhooks.model import Delivery
from tests.integration.api_client import ApiClient
from tests.integration.receiver import ReceivedRequest, run_receiver
from tools.local.stack import Stack
from tools.local.waiting import wait_for

# Functions see a new pause after five seconds.
PAUSES_CACHE_SECONDS = 6.0


def build_delivery_store(stack: Stack) -> DynamoDeliveryStore:
    table = stack.outputs["DeliveriesTableName"]
    return DynamoDeliveryStore(stack.get_client("dynamodb"), table, due_shards=8)


def _list_statuses(requests: list[ReceivedRequest]) -> list[str]:
    return [request.prediction["status"] for request in requests]


def _fetch_secret(api: ApiClient) -> WebhookSigningSecret:
    return WebhookSigningSecret(key=api.call("GET", "/v1/webhooks/default/secret").json()["key"])


def _includes_success(requests: list[ReceivedRequest]) -> bool:
    return "succeeded" in _list_statuses(requests)


def test_validators_of_replicate_and_standard_webhooks_accept_our_signature(
    api: ApiClient, make_client: Callable[[str], Client]
) -> None:
    client = make_client(api.key)
    secret = client.webhooks.default.secret()
    with run_receiver() as receiver:
        prediction = client.predictions.create(
            model="local/lab", input={"output": "grüße 🎨"}, webhook=receiver.url
        )
        requests = receiver.wait_for(_includes_success, "the webhook")

    for request in requests:
        Webhooks.validate(headers=request.headers, body=request.body.decode(), secret=secret, tolerance=300)
        Webhook(secret.key).verify(request.body, request.headers)
    assert requests[-1].prediction["id"] == prediction.id
    assert requests[-1].prediction["output"] == "grüße 🎨"
    assert requests[-1].prediction["urls"] == api.get(prediction.id)["urls"]


def test_validator_rejects_changed_body_and_secret_of_another_tenant(
    api: ApiClient, make_api: Callable[[], ApiClient]
) -> None:
    secret, other_secret = _fetch_secret(api), _fetch_secret(make_api())
    with run_receiver() as receiver:
        api.create("local/lab", {"output": 1}, webhook=receiver.url, webhook_events_filter=["completed"])
        [request] = receiver.wait_for(_includes_success, "the webhook")

    body = request.body.decode()
    with pytest.raises(InvalidSignatureError):
        Webhooks.validate(headers=request.headers, body=body.replace("succeeded", "canceled"), secret=secret)
    with pytest.raises(InvalidSignatureError):
        Webhooks.validate(headers=request.headers, body=body, secret=other_secret)


def test_filtered_events_are_delivered_in_order(api: ApiClient) -> None:
    model_input = {"output": "done", "logs": "one\ntwo\n", "latency": 1}
    with run_receiver() as completed_receiver, run_receiver() as receiver:
        api.create(
            "local/lab", model_input, webhook=completed_receiver.url, webhook_events_filter=["completed"]
        )
        api.create(
            "local/lab", model_input, webhook=receiver.url, webhook_events_filter=["start", "completed"]
        )
        completed_only = completed_receiver.wait_for(_includes_success, "the webhook")
        start_and_completed = receiver.wait_for(_includes_success, "both webhooks")

    assert _list_statuses(completed_only) == ["succeeded"]
    assert completed_only[0].prediction["logs"] == "one\ntwo\n"
    assert len(start_and_completed) == 2
    assert _list_statuses(start_and_completed)[0] in {"starting", "processing"}
    assert _list_statuses(start_and_completed)[-1] == "succeeded"


def test_failed_delivery_is_repeated_with_the_same_message(api: ApiClient) -> None:
    with run_receiver(500) as receiver:
        api.create("local/lab", {"output": 1}, webhook=receiver.url, webhook_events_filter=["completed"])
        requests = receiver.wait_for(
            lambda requests: any(request.status == 204 for request in requests), "the second attempt"
        )

    assert [request.status for request in requests] == [500, 204]
    assert len({request.headers["webhook-id"] for request in requests}) == 1
    assert len({request.body for request in requests}) == 1


def test_paused_delivery_is_held_and_goes_out_after_the_resume(stack: Stack, api: ApiClient) -> None:
    operator = ApiClient(stack.api_url, stack.admin_key)
    activity = {"activity": "deliveries", "tenant": api.tenant}
    assert operator.call("POST", "/admin/pause", activity).status_code == 200
    time.sleep(PAUSES_CACHE_SECONDS)
    with run_receiver() as receiver:
        options: dict[str, Any] = {"webhook": receiver.url, "webhook_events_filter": ["completed"]}
        prediction = api.create("local/lab", {"output": 1}, **options)

        def find_held() -> Delivery | None:
            deliveries = build_delivery_store(stack).list_by_job(api.tenant, prediction["id"])
            return next((delivery for delivery in deliveries if delivery.paused_since), None)

        held = wait_for(find_held, timeout_seconds=90, description="the delivery that is held")
        assert (held.is_pending, held.total_attempts, receiver.requests) == (True, 0, [])

        assert operator.call("POST", "/admin/resume", activity).status_code == 200

        def resend_until_received() -> list[ReceivedRequest]:
            """The sweep sends it within minutes; deliver sees the resume after five seconds."""
            path = f"/admin/tenants/{api.tenant}/deliveries/{held.id}/redeliver"
            if not receiver.requests:
                operator.call("POST", path, {})
            return receiver.requests

        wait_for(resend_until_received, timeout_seconds=90, description="the webhook after the resume")


def test_every_tenant_has_its_own_secret(api: ApiClient, make_api: Callable[[], ApiClient]) -> None:
    keys = [_fetch_secret(client).key for client in (api, api, make_api())]

    assert keys[0] == keys[1] != keys[2]
