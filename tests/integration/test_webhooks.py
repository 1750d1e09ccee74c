"""What an application gets told, and that it can believe it."""

from collections.abc import Callable

import pytest
from replicate.client import Client
from replicate.webhook import InvalidSignatureError, Webhooks, WebhookSigningSecret
from standardwebhooks import Webhook

from tests.integration.api import ApiClient
from tests.integration.receiver import ReceivedRequest, run_receiver


def statuses(calls: list[ReceivedRequest]) -> list[str]:
    return [call.prediction["status"] for call in calls]


def secret_of(api: ApiClient) -> WebhookSigningSecret:
    return WebhookSigningSecret(key=api.call("GET", "/v1/webhooks/default/secret").json()["key"])


def final(calls: list[ReceivedRequest]) -> bool:
    return any(call.prediction["status"] == "succeeded" for call in calls)


def test_replicates_and_standard_webhooks_validators_accept_our_signature(
    api: ApiClient, client_of: Callable[[str], Client]
) -> None:
    client = client_of(api.key)
    secret = client.webhooks.default.secret()
    with run_receiver() as application:
        prediction = client.predictions.create(
            model="local/lab", input={"output": "grüße 🎨"}, webhook=application.url
        )
        calls = application.wait_for(final, "webhook of the end")

    for call in calls:
        Webhooks.validate(headers=call.headers, body=call.body.decode(), secret=secret, tolerance=300)
        Webhook(secret.key).verify(call.body, call.headers)
    assert calls[-1].prediction["id"] == prediction.id
    assert calls[-1].prediction["output"] == "grüße 🎨"
    assert calls[-1].prediction["urls"] == api.get(prediction.id)["urls"]


def test_changed_body_or_foreign_secret_is_not_believed(
    api: ApiClient, make_api: Callable[[], ApiClient]
) -> None:
    mine, foreign = secret_of(api), secret_of(make_api())
    with run_receiver() as application:
        api.create("local/lab", {"output": 1}, webhook=application.url, webhook_events_filter=["completed"])
        [call] = application.wait_for(final, "webhook of the end")

    changed = call.body.decode().replace("succeeded", "canceled")
    with pytest.raises(InvalidSignatureError):
        Webhooks.validate(headers=call.headers, body=changed, secret=mine)
    with pytest.raises(InvalidSignatureError):
        Webhooks.validate(headers=call.headers, body=call.body.decode(), secret=foreign)


def test_filter_decides_which_events_come_and_they_come_in_order(api: ApiClient) -> None:
    given = {"output": "done", "logs": "one\ntwo\n", "latency": 1}
    with run_receiver() as only_end, run_receiver() as both:
        api.create("local/lab", given, webhook=only_end.url, webhook_events_filter=["completed"])
        api.create("local/lab", given, webhook=both.url, webhook_events_filter=["start", "completed"])
        ends = only_end.wait_for(final, "webhook of the end")
        told = both.wait_for(final, "webhooks of start and end")

    assert statuses(ends) == ["succeeded"]
    assert statuses(told)[-1] == "succeeded"
    assert len(told) == 2
    assert statuses(told)[0] in {"starting", "processing"}
    assert ends[0].prediction["logs"] == "one\ntwo\n"


def test_application_that_is_down_gets_the_same_message_again(api: ApiClient) -> None:
    with run_receiver(500) as application:
        api.create("local/lab", {"output": 1}, webhook=application.url, webhook_events_filter=["completed"])
        calls = application.wait_for(
            lambda calls: any(call.status == 204 for call in calls), "second attempt"
        )

    assert [call.status for call in calls] == [500, 204]
    assert len({call.headers["webhook-id"] for call in calls}) == 1
    assert len({call.body for call in calls}) == 1


def test_secret_is_the_tenants_own(api: ApiClient, make_api: Callable[[], ApiClient]) -> None:
    keys = [secret_of(each).key for each in (api, api, make_api())]

    assert keys[0] == keys[1] != keys[2]
