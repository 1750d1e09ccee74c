"""The routes below /v1/webhooks, as a tenant's code calls them."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from replicate_proxy.api.pagination import encode_cursor
from replicate_proxy.api.routing import Router
from replicate_proxy.api.webhooks.deliveries import add_delivery_routes
from replicate_proxy.api.webhooks.endpoints import add_endpoint_routes
from replicate_proxy.clock import format_timestamp
from replicate_proxy.webhooks.endpoint_service import MAX_ENDPOINTS
from replicate_proxy.webhooks.model import DeliveryStatus
from tests.support.clock import NOW
from tests.support.delivery_pipeline import DeliveryPipeline
from tests.support.webhook_builders import (
    JOB_ID,
    TENANT,
    make_attempt,
    make_delivery,
    make_endpoint,
    make_job,
)
from tests.support.webhook_fakes import respond, time_out

BASE_URL = "https://proxy.example/prod"
SCOPES = "predictions:read predictions:write"


class Client:
    """Calls the API as API Gateway would, for one tenant."""

    def __init__(self, pipeline: DeliveryPipeline, tenant: str = TENANT, scopes: str = SCOPES) -> None:
        self._router = Router()
        add_endpoint_routes(self._router, pipeline.endpoint_service, pipeline.redelivery)
        add_delivery_routes(
            self._router,
            endpoints=pipeline.endpoint_service,
            redelivery=pipeline.redelivery,
            deliveries=pipeline.deliveries,
        )
        self._authorizer = {"tenant": tenant, "key_id": "k", "scopes": scopes}

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Return status and body."""
        parts = urlsplit(path)
        event = {
            "httpMethod": method,
            "resource": "/v1/webhooks/{proxy+}",
            "path": f"/v1/webhooks/{parts.path}",
            "pathParameters": {"proxy": parts.path},
            "queryStringParameters": dict(parse_qsl(parts.query)) or None,
            "headers": {"Host": "proxy.example", "X-Forwarded-Proto": "https"},
            "requestContext": {
                "path": f"/prod/v1/webhooks/{parts.path}",
                "domainName": "proxy.example",
                "authorizer": self._authorizer,
            },
            "body": None if body is None else json.dumps(body),
            "isBase64Encoded": False,
        }
        response = self._router.handle(event)
        return response["statusCode"], json.loads(response["body"]) if response["body"] else None

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """Return the body of a successful call."""
        status, response_body = self.call(method, path, body)
        assert status < 300, response_body
        return response_body

    def get_url(self, url: str) -> Any:
        return self.request("GET", url.removeprefix(f"{BASE_URL}/v1/webhooks/"))


@pytest.fixture
def client(pipeline: DeliveryPipeline) -> Client:
    return Client(pipeline)


def test_endpoint_is_created_read_changed_and_deleted(client: Client) -> None:
    created = client.request("POST", "endpoints", {"url": "https://app.example/all", "description": "ours"})
    assert created["key"].startswith("whsec_")
    assert (created["status"], created["events"]) == ("enabled", [])
    path = f"endpoints/{created['id']}"

    changed = client.request("PATCH", path, {"events": ["completed"], "enabled": False})
    assert (changed["events"], changed["status"]) == (["completed"], "disabled")
    assert changed["disabled_reason"] == "by_tenant"
    read = client.request("GET", path)
    assert "key" not in read
    assert read["description"] == "ours"
    assert read["health"]["consecutive_failures"] == 0
    listed = client.request("GET", "endpoints")["results"]
    assert [endpoint["id"] for endpoint in listed] == [created["id"]]

    assert client.call("DELETE", path) == (204, None)
    assert client.call("GET", path)[0] == 404


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "url"),
        ({"url": "http://app.example/"}, "url"),
        ({"url": "https://10.0.0.1/"}, "url"),
        ({"url": "https://user:pass@app.example/"}, "url"),
        ({"url": "https://app.example:22/"}, "url"),
        ({"url": "not a url"}, "url"),
        ({"url": "https://app.example/" + "x" * 3000}, "url"),
        ({"url": "https://app.example/", "events": ["begun"]}, "events.0"),
        ({"url": "https://app.example/", "secret": "mine"}, ""),
        ({"url": "https://app.example/", "description": 3}, "description"),
    ],
)
def test_create_endpoint_names_the_invalid_field(client: Client, body: Any, field: str) -> None:
    status, problem = client.call("POST", "endpoints", body)
    assert status == 422
    assert problem["invalid_fields"][0]["field"] == field
    assert client.request("GET", "endpoints")["results"] == []


def test_create_endpoint_is_409_when_tenant_has_the_maximum(client: Client) -> None:
    for _ in range(MAX_ENDPOINTS):
        client.request("POST", "endpoints", {"url": "https://app.example/"})
    assert client.call("POST", "endpoints", {"url": "https://app.example/"})[0] == 409


def test_default_secret_stays_until_it_is_rotated(client: Client) -> None:
    first = client.request("GET", "default/secret")
    assert set(first) == {"key"}  # Replicate's shape
    assert client.request("GET", "default/secret") == first
    rotated = client.request("POST", "default/secret/rotate", {"overlap_seconds": 3600})
    assert rotated["key"] != first["key"]
    assert client.request("GET", "default/secret") == rotated


def test_secret_of_endpoint_is_read_and_rotated(client: Client, pipeline: DeliveryPipeline) -> None:
    created = client.request("POST", "endpoints", {"url": "https://app.example/"})
    path = f"endpoints/{created['id']}/secret"
    assert client.request("GET", path) == {"key": created["key"]}
    rotated = client.request("POST", f"{path}/rotate")
    assert client.request("GET", path) == rotated != {"key": created["key"]}
    stored = pipeline.endpoints.get(TENANT, created["id"])
    assert stored is not None
    assert stored.secrets[1].expires_at == NOW + timedelta(days=1)


@pytest.mark.parametrize("overlap", [-1, 7 * 86400 + 1, "soon"])
def test_rotation_overlap_must_be_0_to_7_days(client: Client, overlap: Any) -> None:
    status, problem = client.call("POST", "default/secret/rotate", {"overlap_seconds": overlap})
    assert (status, problem["invalid_fields"][0]["field"]) == (422, "overlap_seconds")


def test_test_event_is_sent_and_its_attempt_recorded(client: Client, pipeline: DeliveryPipeline) -> None:
    created = client.request("POST", "endpoints", {"url": "https://app.example/", "events": ["completed"]})
    delivery = client.request("POST", f"endpoints/{created['id']}/test")
    pipeline.run_for()

    (request,) = pipeline.receiver.accepted
    assert request.event == "test"
    assert request.json()["status"] == "starting"
    assert request.json()["urls"]["get"].startswith(f"{BASE_URL}/v1/predictions/")
    read = client.request("GET", f"deliveries/{delivery['id']}")
    assert (read["status"], read["attempts"]) == ("succeeded", 1)
    (attempt,) = client.request("GET", f"deliveries/{delivery['id']}/attempts")["results"]
    assert (attempt["succeeded"], attempt["status"]) == (True, 200)


def test_deliveries_and_attempts_are_listed_by_prediction_and_by_endpoint(
    client: Client, pipeline: DeliveryPipeline
) -> None:
    endpoint = make_endpoint(events=("completed",))
    pipeline.endpoints.create(endpoint)
    pipeline.receiver.behavior = lambda request: respond(500 if "all" in request.url else 200, text="no")
    job_id = pipeline.complete_job().id
    pipeline.run_for(1)

    by_prediction = client.request("GET", f"deliveries?prediction={job_id}")["results"]
    assert {delivery["endpoint"] for delivery in by_prediction} == {None, endpoint.id}
    (to_endpoint,) = client.request("GET", f"endpoints/{endpoint.id}/deliveries")["results"]
    assert (to_endpoint["status"], to_endpoint["prediction"]) == ("pending", job_id)
    (to_own_webhook,) = client.request("GET", "deliveries")["results"]
    assert (to_own_webhook["url"], to_own_webhook["status"]) == (make_job().webhook, "succeeded")

    attempts = client.request("GET", f"attempts?prediction={job_id}")["results"]
    assert {(attempt["status"], attempt["response"]) for attempt in attempts} == {(200, "no"), (500, "no")}
    (failed,) = client.request("GET", f"endpoints/{endpoint.id}/attempts")["results"]
    assert (failed["error"], failed["number"]) == ("http_5xx", 1)
    assert len(client.request("GET", "attempts")["results"]) == 1
    assert client.request("GET", f"endpoints/{endpoint.id}/deliveries?status=failed")["results"] == []


def test_deliveries_are_paged(client: Client, pipeline: DeliveryPipeline) -> None:
    for number in range(130):
        pipeline.complete_job(id=f"job{number:03}")
        pipeline.clock.advance(1)

    first = client.request("GET", "deliveries?status=pending")
    second = client.get_url(first["next"])
    listed = [delivery["prediction"] for delivery in first["results"] + second["results"]]
    assert listed == [f"job{number:03}" for number in reversed(range(130))]
    assert second["next"] is None
    since = format_timestamp(NOW + timedelta(seconds=125))
    assert len(client.request("GET", f"deliveries?since={since}")["results"]) == 5


@pytest.mark.parametrize("since", ["0001-01-01T00:00:00+12:00", "9999-12-31T23:59:59-12:00", 1e300, "x"])
def test_redeliver_rejects_a_time_that_is_none(client: Client, since: object) -> None:
    status, problem = client.call("POST", "redeliver", {"since": since})
    assert (status, problem["invalid_fields"][0]["field"]) == (422, "since")


@pytest.mark.parametrize(
    "path",
    [
        "deliveries?status=lost",
        "deliveries?since=yesterday",
        "deliveries?since=0001-01-01T00:00:00%2B12:00",
        "deliveries?since=9999-12-31T23:59:59-12:00",
        "deliveries?prediction=../x",
    ],
)
def test_list_rejects_invalid_query_parameter(client: Client, path: str) -> None:
    assert client.call("GET", path)[0] == 400


def test_redeliver_sends_the_same_id_and_bytes(client: Client, pipeline: DeliveryPipeline) -> None:
    job_id = pipeline.complete_job().id
    pipeline.run_for()
    (delivery,) = client.request("GET", f"deliveries?prediction={job_id}")["results"]

    assert client.request("POST", f"deliveries/{delivery['id']}/redeliver")["status"] == "pending"
    pipeline.run_for()

    first, second = pipeline.receiver.accepted
    assert (first.body, first.headers["webhook-id"]) == (second.body, second.headers["webhook-id"])
    assert client.request("GET", f"deliveries/{delivery['id']}")["attempts"] == 2


def test_redeliver_is_409_while_an_attempt_is_in_progress(client: Client, pipeline: DeliveryPipeline) -> None:
    pipeline.receiver.behavior = lambda _: time_out()
    job_id = pipeline.complete_job().id
    pipeline.run_for(1)
    (delivery,) = client.request("GET", f"deliveries?prediction={job_id}")["results"]
    assert client.call("POST", f"deliveries/{delivery['id']}/redeliver")[0] == 409


def test_redeliver_sends_all_failed_since_a_time(client: Client, pipeline: DeliveryPipeline) -> None:
    endpoint = make_endpoint(events=("completed",))
    pipeline.endpoints.create(endpoint)
    pipeline.receiver.behavior = lambda _: respond(500)
    for number in range(3):
        pipeline.complete_job(id=f"job{number}")
        pipeline.run_for(3600)
    pipeline.run_for(100 * 3600)
    pipeline.receiver.behavior = lambda _: respond(200)

    since = format_timestamp(NOW + timedelta(minutes=30))
    result = client.request("POST", f"endpoints/{endpoint.id}/redeliver", {"since": since})
    pipeline.run_for(60)
    assert result == {"redelivered": 2, "cursor": None}
    assert {request.json()["id"] for request in pipeline.receiver.accepted} == {"job1", "job2"}

    pipeline.receiver.accepted.clear()
    result = client.request("POST", "redeliver", {"since": format_timestamp(NOW)})
    pipeline.run_for(60)
    assert result == {"redelivered": 4, "cursor": None}
    accepted = [(request.json()["id"], request.url) for request in pipeline.receiver.accepted]
    assert len(accepted) == len(set(accepted)) == 4


def test_redeliver_sends_what_waits_after_a_failure(client: Client, pipeline: DeliveryPipeline) -> None:
    """A receiver was down for a day: the next attempts would follow hours after it works again."""
    pipeline.receiver.behavior = lambda _: respond(503)
    job_id = pipeline.complete_job().id
    pipeline.run_for(24 * 3600)
    (delivery,) = client.request("GET", f"deliveries?prediction={job_id}")["results"]
    assert delivery["status"] == "pending"
    assert delivery["next_attempt_at"] > format_timestamp(NOW + timedelta(hours=30))
    pipeline.receiver.behavior = lambda _: respond(200)

    body = {"since": format_timestamp(NOW)}
    assert client.request("POST", "redeliver", body) == {"redelivered": 1, "cursor": None}
    # It is due now, and no attempt has failed since: a repetition would only send it twice.
    assert client.request("POST", "redeliver", body) == {"redelivered": 0, "cursor": None}
    pipeline.run_for(60)

    assert [request.json()["id"] for request in pipeline.receiver.accepted] == [job_id]
    assert client.request("GET", f"deliveries/{delivery['id']}")["status"] == "succeeded"


def test_redeliver_leaves_out_what_is_being_sent(client: Client, pipeline: DeliveryPipeline) -> None:
    pipeline.receiver.behavior = lambda _: respond(503)
    pipeline.complete_job()
    pipeline.run_for(1)
    pipeline.receiver.behavior = lambda _: time_out()
    pipeline.run_for(5)

    body = {"since": format_timestamp(NOW)}
    assert client.request("POST", "redeliver", body) == {"redelivered": 0, "cursor": None}


def test_redeliver_to_a_disabled_endpoint_is_409(client: Client, pipeline: DeliveryPipeline) -> None:
    endpoint = make_endpoint(events=("completed",))
    pipeline.endpoints.create(endpoint)
    pipeline.receiver.behavior = lambda _: respond(503, {"webhook-delivery": "abort-message"})
    pipeline.complete_job(webhook=None)
    pipeline.run_for(60)
    client.request("PATCH", f"endpoints/{endpoint.id}", {"enabled": False})

    body = {"since": format_timestamp(NOW)}
    status, problem = client.call("POST", f"endpoints/{endpoint.id}/redeliver", body)
    assert (status, problem["title"]) == (409, "Endpoint disabled")
    (delivery,) = client.request("GET", f"endpoints/{endpoint.id}/deliveries")["results"]
    assert (delivery["status"], delivery["reason"]) == ("failed", "aborted")
    assert client.request("POST", "redeliver", body) == {"redelivered": 0, "cursor": None}


POSITION = ["0" * 26, "DELIVERY#prediction#000000000001", "2026-01-01T00:00:00.000Z"]


def with_part(index: int, text: str) -> list[str]:
    return [*POSITION[:index], text, *POSITION[index + 1 :]]


@pytest.mark.parametrize(
    "position",
    [
        ["", "", ""],
        [],
        POSITION[:2],
        with_part(0, "x" * 500),
        with_part(0, "a#b"),
        with_part(1, ""),
        with_part(1, "EVENT#1"),
        with_part(1, "DELIVERY#" + "x" * 500 + "#000000000001"),
        with_part(2, ""),
        with_part(2, "now"),
    ],
)
def test_cursor_that_no_page_ends_with_is_rejected(client: Client, position: list[str]) -> None:
    endpoint = client.request("POST", "endpoints", {"url": "https://app.example/"})
    cursor = encode_cursor(position)
    since = {"since": format_timestamp(NOW)}
    for path in ("deliveries", "attempts", f"endpoints/{endpoint['id']}/deliveries"):
        assert client.call("GET", f"{path}?cursor={cursor}")[0] == 400, path
    assert client.call("POST", f"endpoints/{endpoint['id']}/redeliver", {**since, "cursor": cursor})[0] == 400
    if any(position):
        cursor = encode_cursor(["prediction", *position])
        assert client.call("POST", "redeliver", {**since, "cursor": cursor})[0] == 400


@pytest.mark.parametrize(
    "identifier",
    ["x" * 1_500, "x" * 1_500 + ".1.prediction", "x" * 150 + ".1.prediction", "a#b.1.prediction", "%00"],
)
def test_id_without_the_form_of_one_is_not_found(client: Client, identifier: str) -> None:
    for method, path in (
        ("GET", f"deliveries/{identifier}"),
        ("GET", f"deliveries/{identifier}/attempts"),
        ("POST", f"deliveries/{identifier}/redeliver"),
        ("GET", f"endpoints/{identifier}"),
        ("DELETE", f"endpoints/{identifier}"),
        ("GET", f"endpoints/{identifier}/attempts"),
    ):
        assert client.call(method, path)[0] == 404, path


def test_redeliver_continues_with_the_cursor(client: Client, pipeline: DeliveryPipeline) -> None:
    for number in range(2):
        url = f"https://{number}.example/"
        pipeline.endpoints.create(make_endpoint(id=f"ep_{number}", url=url, events=("completed",)))
    pipeline.receiver.behavior = lambda _: respond(503, {"webhook-delivery": "abort-message"})
    for number in range(550):
        pipeline.complete_job(id=f"job{number:03}")
    pipeline.run_for(1200)

    total, calls = 0, 0
    cursor: str | None = None
    while calls == 0 or cursor:
        body = {"since": format_timestamp(NOW)} | ({"cursor": cursor} if cursor else {})
        result = client.request("POST", "redeliver", body)
        total, calls, cursor = total + result["redelivered"], calls + 1, result["cursor"]
    assert total == 550 * 3
    assert calls > 3


def test_enable_redelivers_what_the_endpoint_missed(client: Client, pipeline: DeliveryPipeline) -> None:
    endpoint = make_endpoint(events=("completed",))
    pipeline.endpoints.create(endpoint)
    pipeline.receiver.behavior = lambda _: respond(410)
    for number in range(4):
        pipeline.complete_job(id=f"job{number}", webhook=None)
        pipeline.run_for(60)
    delivery = client.request("GET", f"endpoints/{endpoint.id}/deliveries")["results"][0]
    assert client.call("POST", f"deliveries/{delivery['id']}/redeliver")[0] == 409
    pipeline.receiver.behavior = lambda _: respond(200)

    enabled = client.request("POST", f"endpoints/{endpoint.id}/enable")
    pipeline.run_for(60)

    assert (enabled["status"], enabled["redelivered"]) == ("enabled", 4)
    accepted_ids = {request.json()["id"] for request in pipeline.receiver.accepted}
    assert accepted_ids == {f"job{number}" for number in range(4)}


def test_enable_without_redeliver_sends_nothing(client: Client, pipeline: DeliveryPipeline) -> None:
    endpoint = make_endpoint(events=("completed",))
    pipeline.endpoints.create(endpoint)
    client.request("PATCH", f"endpoints/{endpoint.id}", {"enabled": False})
    pipeline.complete_job(webhook=None)

    client.request("POST", f"endpoints/{endpoint.id}/enable", {"redeliver": False})
    pipeline.run_for(600)
    assert pipeline.receiver.received == []


ROUTES = [
    ("GET", "endpoints/{endpoint}", None),
    ("PATCH", "endpoints/{endpoint}", {}),
    ("DELETE", "endpoints/{endpoint}", None),
    ("GET", "endpoints/{endpoint}/secret", None),
    ("POST", "endpoints/{endpoint}/secret/rotate", None),
    ("POST", "endpoints/{endpoint}/enable", None),
    ("POST", "endpoints/{endpoint}/test", None),
    ("GET", "endpoints/{endpoint}/deliveries", None),
    ("GET", "endpoints/{endpoint}/attempts", None),
    ("POST", "endpoints/{endpoint}/redeliver", {"since": "2026-01-01T00:00:00Z"}),
    ("GET", "deliveries/{delivery}", None),
    ("GET", "deliveries/{delivery}/attempts", None),
    ("POST", "deliveries/{delivery}/redeliver", None),
]


@pytest.mark.parametrize(("method", "path", "body"), ROUTES)
def test_other_tenants_id_responds_like_unknown_id(
    pipeline: DeliveryPipeline, method: str, path: str, body: Any
) -> None:
    endpoint = make_endpoint()
    pipeline.endpoints.create(endpoint)
    job_id = pipeline.complete_job(webhook_events=None).id
    pipeline.run_for()
    delivery = pipeline.deliveries.list_by_job(TENANT, job_id)[0]
    other_tenant = Client(pipeline, tenant="other")

    foreign = other_tenant.call(method, path.format(endpoint=endpoint.id, delivery=delivery.id), body)
    unknown = other_tenant.call(method, path.format(endpoint="ep_unknown", delivery="job.1.prediction"), body)

    assert foreign == unknown
    assert foreign[0] == 404


@pytest.mark.parametrize(
    "path", [f"attempts?prediction={JOB_ID}", f"deliveries/{JOB_ID}.7.prediction/attempts"]
)
def test_attempts_of_one_prediction_or_delivery_are_paged(
    client: Client, pipeline: DeliveryPipeline, path: str
) -> None:
    """All together they do not fit into a response."""
    pipeline.deliveries.create(make_delivery())
    # Several at the same time, in another order than that of their numbers.
    for number in reversed(range(1, 1001)):
        sent_at = NOW + timedelta(seconds=number // 7)
        attempt = make_attempt(number=number, sent_at=sent_at, response_body='"' * 8192)
        pipeline.deliveries.record_attempt(attempt)
    numbers: list[int] = []
    url: str | None = f"{BASE_URL}/v1/webhooks/{path}"
    pages = 0
    while url is not None:
        page = client.get_url(url)
        numbers += [attempt["number"] for attempt in page["results"]]
        url, pages = page["next"], pages + 1
    assert (numbers, pages) == (list(range(1, 1001)), 10)


def test_deliveries_of_one_prediction_are_paged(client: Client, pipeline: DeliveryPipeline) -> None:
    """Those of a long prediction to many endpoints do not fit into a response."""
    for number in range(125):
        status = DeliveryStatus.FAILED if number == 3 else DeliveryStatus.PENDING
        for target in ("ep_1", "prediction"):
            pipeline.deliveries.create(make_delivery(sequence=number, target=target, status=status))
    path = f"{BASE_URL}/v1/webhooks/deliveries?prediction={JOB_ID}"
    pages = [client.get_url(path)]
    while pages[-1]["next"]:
        pages.append(client.get_url(pages[-1]["next"]))
    shown = [(each["sequence"], each["endpoint"]) for page in pages for each in page["results"]]
    assert [len(page["results"]) for page in pages] == [100, 100, 50]
    assert shown == [(number, endpoint) for number in range(125) for endpoint in ("ep_1", None)]
    failed = client.get_url(f"{path}&status=failed")
    assert ([each["sequence"] for each in failed["results"]], failed["next"]) == ([3, 3], None)


@pytest.mark.parametrize("position", [[], ["x"], POSITION, [f"{JOB_ID}.x.prediction"]])
def test_cursor_that_no_page_of_deliveries_ends_with_is_rejected(client: Client, position: list[str]) -> None:
    path = f"deliveries?prediction={JOB_ID}&cursor={encode_cursor(position)}"
    assert client.call("GET", path)[0] == 400


@pytest.mark.parametrize(
    "position",
    [
        [],
        POSITION,
        ["now", f"{JOB_ID}.7.prediction", "0000000001"],
        ["2026-01-01T00:00:00Z", "x", "0000000001"],
        ["2026-01-01T00:00:00Z", f"{JOB_ID}.7.prediction", "x"],
    ],
)
def test_cursor_that_no_page_of_attempts_ends_with_is_rejected(
    client: Client, pipeline: DeliveryPipeline, position: list[str]
) -> None:
    pipeline.deliveries.create(make_delivery())
    cursor = encode_cursor(position)
    for path in (f"attempts?prediction={JOB_ID}&", f"deliveries/{JOB_ID}.7.prediction/attempts?"):
        assert client.call("GET", f"{path}cursor={cursor}")[0] == 400, path


@pytest.mark.parametrize("name", ["deliveries", "attempts"])
def test_other_tenants_prediction_lists_like_unknown_prediction(
    pipeline: DeliveryPipeline, name: str
) -> None:
    job_id = pipeline.complete_job(webhook_events=None).id
    pipeline.run_for()
    other_tenant = Client(pipeline, tenant="other")
    unknown_id = job_id[:-1] + "z"
    assert other_tenant.call("GET", f"{name}?prediction={job_id}") == other_tenant.call(
        "GET", f"{name}?prediction={unknown_id}"
    )
    assert other_tenant.request("GET", name)["results"] == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "default/secret"),
        ("POST", "default/secret/rotate"),
        ("POST", "endpoints"),
        *[(method, path) for method, path, _ in ROUTES if method != "GET" or path.endswith("secret")],
    ],
)
def test_changes_and_secrets_need_the_write_scope(pipeline: DeliveryPipeline, method: str, path: str) -> None:
    reader = Client(pipeline, scopes="predictions:read")
    body = {"url": "https://app.example/", "since": "2026-01-01T00:00:00Z"}
    status, _ = reader.call(
        method, path.format(endpoint="ep_1", delivery="x"), body if path == "endpoints" else None
    )
    assert status in {400, 403}


@pytest.mark.parametrize(
    "delivery_id", ["x", "a.b.c", "..", "a.1", "a.1.", "a.99999999999999.prediction", "a.01.prediction"]
)
def test_malformed_delivery_id_is_404(client: Client, delivery_id: str) -> None:
    assert client.call("GET", f"deliveries/{delivery_id}")[0] == 404


@pytest.mark.parametrize("path", ["", "nowhere", "endpoints/", "endpoints//secret", "default"])
def test_unknown_path_is_404(client: Client, path: str) -> None:
    assert client.call("GET", path)[0] == 404
