"""/v1/webhooks as a tenant's code calls it."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from replicate_proxy.api.routing import Router
from replicate_proxy.api.webhooks.deliveries import add_delivery_routes
from replicate_proxy.api.webhooks.endpoints import add_endpoint_routes
from replicate_proxy.clock import format_timestamp
from replicate_proxy.webhooks.endpoint_service import MAX_ENDPOINTS
from tests.support.clock import NOW
from tests.support.webhook_builders import TENANT, as_succeeded, make_endpoint, make_job
from tests.support.webhook_fakes import respond, time_out
from tests.support.webhook_simulation import WebhookSimulation

BASE = "https://proxy.example/prod"
SCOPES = "predictions:read predictions:write"


class Client:
    """Calls the API as API Gateway would, for one tenant."""

    def __init__(self, world: WebhookSimulation, tenant: str = TENANT, scopes: str = SCOPES) -> None:
        self._router = Router()
        add_endpoint_routes(self._router, world.endpoint_service, world.redelivery)
        add_delivery_routes(
            self._router,
            endpoints=world.endpoint_service,
            redelivery=world.redelivery,
            deliveries=world.deliveries,
        )
        self._authorizer = {"tenant": tenant, "key_id": "k", "scopes": scopes}

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
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
        reply = self._router.handle(event)
        return reply["statusCode"], json.loads(reply["body"]) if reply["body"] else None

    def ok(self, method: str, path: str, body: Any = None) -> Any:
        status, reply = self.call(method, path, body)
        assert status < 300, reply
        return reply

    def follow(self, url: str) -> Any:
        return self.ok("GET", url.removeprefix(f"{BASE}/v1/webhooks/"))


@pytest.fixture
def client(world: WebhookSimulation) -> Client:
    return Client(world)


def test_an_endpoint_is_registered_read_changed_and_deleted(client: Client) -> None:
    made = client.ok("POST", "endpoints", {"url": "https://app.example/all", "description": "ours"})
    assert made["key"].startswith("whsec_")
    assert (made["status"], made["events"]) == ("enabled", [])

    changed = client.ok("PATCH", f"endpoints/{made['id']}", {"events": ["completed"], "enabled": False})
    assert (changed["events"], changed["status"], changed["disabled_reason"]) == (
        ["completed"],
        "disabled",
        "by_tenant",
    )
    read = client.ok("GET", f"endpoints/{made['id']}")
    assert "key" not in read
    assert read["description"] == "ours"
    assert read["health"]["consecutive_failures"] == 0
    assert [each["id"] for each in client.ok("GET", "endpoints")["results"]] == [made["id"]]

    assert client.call("DELETE", f"endpoints/{made['id']}") == (204, None)
    assert client.call("GET", f"endpoints/{made['id']}")[0] == 404


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
def test_what_is_wrong_with_an_endpoint_is_said(client: Client, body: Any, field: str) -> None:
    status, problem = client.call("POST", "endpoints", body)
    assert status == 422
    assert problem["invalid_fields"][0]["field"] == field
    assert client.ok("GET", "endpoints")["results"] == []


def test_endpoints_are_limited(client: Client) -> None:
    for _ in range(MAX_ENDPOINTS):
        client.ok("POST", "endpoints", {"url": "https://app.example/"})
    assert client.call("POST", "endpoints", {"url": "https://app.example/"})[0] == 409


def test_the_default_secret_is_in_replicates_shape_and_stays(client: Client) -> None:
    first = client.ok("GET", "default/secret")
    assert set(first) == {"key"}
    assert client.ok("GET", "default/secret") == first
    rotated = client.ok("POST", "default/secret/rotate", {"overlap_seconds": 3600})
    assert rotated["key"] != first["key"]
    assert client.ok("GET", "default/secret") == rotated


def test_an_endpoints_secret_is_read_and_rotated(client: Client, world: WebhookSimulation) -> None:
    made = client.ok("POST", "endpoints", {"url": "https://app.example/"})
    path = f"endpoints/{made['id']}/secret"
    assert client.ok("GET", path) == {"key": made["key"]}
    rotated = client.ok("POST", f"{path}/rotate")
    assert client.ok("GET", path) == rotated != {"key": made["key"]}
    stored = world.endpoints.get(TENANT, made["id"])
    assert stored is not None
    assert stored.secrets[1].expires_at == NOW + timedelta(days=1)


@pytest.mark.parametrize("grace", [-1, 7 * 86400 + 1, "soon"])
def test_the_grace_is_0_to_7_days(client: Client, grace: Any) -> None:
    status, problem = client.call("POST", "default/secret/rotate", {"overlap_seconds": grace})
    assert (status, problem["invalid_fields"][0]["field"]) == (422, "overlap_seconds")


def test_a_test_event_is_sent_and_its_attempt_is_seen(client: Client, world: WebhookSimulation) -> None:
    made = client.ok("POST", "endpoints", {"url": "https://app.example/", "events": ["completed"]})
    delivery = client.ok("POST", f"endpoints/{made['id']}/test")
    world.run_for()

    (request,) = world.receiver.accepted
    assert request.event == "test"
    assert request.json()["status"] == "starting"
    assert request.json()["urls"]["get"].startswith(f"{BASE}/v1/predictions/")
    seen = client.ok("GET", f"deliveries/{delivery['id']}")
    assert (seen["status"], seen["attempts"]) == ("succeeded", 1)
    (attempt,) = client.ok("GET", f"deliveries/{delivery['id']}/attempts")["results"]
    assert (attempt["succeeded"], attempt["status"]) == (True, 200)


def test_deliveries_and_attempts_are_listed_by_prediction_and_by_endpoint(
    client: Client, world: WebhookSimulation
) -> None:
    endpoint = make_endpoint(events=("completed",))
    world.endpoints.create(endpoint)
    world.receiver.behavior = lambda request: respond(500 if "all" in request.url else 200, text="no")
    job = make_job(webhook_events=("completed",))
    world.apply_changes((job, as_succeeded(job)))
    world.run_for(1)

    by_job = client.ok("GET", f"deliveries?prediction={job.id}")["results"]
    assert {each["endpoint"] for each in by_job} == {None, endpoint.id}
    (to_endpoint,) = client.ok("GET", f"endpoints/{endpoint.id}/deliveries")["results"]
    assert (to_endpoint["status"], to_endpoint["prediction"]) == ("pending", job.id)
    (own,) = client.ok("GET", "deliveries")["results"]
    assert (own["url"], own["status"]) == (job.webhook, "succeeded")

    attempts = client.ok("GET", f"attempts?prediction={job.id}")["results"]
    assert {(each["status"], each["response"]) for each in attempts} == {(200, "no"), (500, "no")}
    (failed,) = client.ok("GET", f"endpoints/{endpoint.id}/attempts")["results"]
    assert (failed["error"], failed["number"]) == ("http_5xx", 1)
    assert len(client.ok("GET", "attempts")["results"]) == 1
    assert client.ok("GET", f"endpoints/{endpoint.id}/deliveries?status=failed")["results"] == []


def test_lists_are_paged(client: Client, world: WebhookSimulation) -> None:
    for number in range(130):
        job = make_job(id=f"job{number:03}", webhook_events=("completed",))
        world.apply_changes((job, as_succeeded(job)))
        world.clock.advance(1)

    first = client.ok("GET", "deliveries?status=pending")
    second = client.follow(first["next"])
    seen = [each["prediction"] for each in first["results"] + second["results"]]
    assert seen == [f"job{number:03}" for number in reversed(range(130))]
    assert second["next"] is None
    since = format_timestamp(NOW + timedelta(seconds=125))
    assert len(client.ok("GET", f"deliveries?since={since}")["results"]) == 5


@pytest.mark.parametrize(
    "path", ["deliveries?status=lost", "deliveries?since=yesterday", "deliveries?prediction=../x"]
)
def test_wrong_queries_are_refused(client: Client, path: str) -> None:
    assert client.call("GET", path)[0] == 422


def test_one_delivery_is_redelivered_with_the_same_id_and_bytes(
    client: Client, world: WebhookSimulation
) -> None:
    job = make_job(webhook_events=("completed",))
    world.apply_changes((job, as_succeeded(job)))
    world.run_for()
    (delivery,) = client.ok("GET", f"deliveries?prediction={job.id}")["results"]

    assert client.ok("POST", f"deliveries/{delivery['id']}/redeliver")["status"] == "pending"
    world.run_for()

    first, second = world.receiver.accepted
    assert (first.body, first.headers["webhook-id"]) == (second.body, second.headers["webhook-id"])
    assert client.ok("GET", f"deliveries/{delivery['id']}")["attempts"] == 2


def test_a_delivery_under_way_is_not_redelivered(client: Client, world: WebhookSimulation) -> None:
    world.receiver.behavior = lambda _: time_out()
    job = make_job(webhook_events=("completed",))
    world.apply_changes((job, as_succeeded(job)))
    world.run_for(1)
    (delivery,) = client.ok("GET", f"deliveries?prediction={job.id}")["results"]
    assert client.call("POST", f"deliveries/{delivery['id']}/redeliver")[0] == 409


def test_all_that_failed_since_a_time_are_redelivered(client: Client, world: WebhookSimulation) -> None:
    endpoint = make_endpoint(events=("completed",))
    world.endpoints.create(endpoint)
    world.receiver.behavior = lambda _: respond(500)
    for number in range(3):
        job = make_job(id=f"job{number}", webhook_events=("completed",))
        world.apply_changes((job, as_succeeded(job)))
        world.run_for(3600)
    world.run_for(100 * 3600)
    world.receiver.behavior = lambda _: respond(200)

    since = format_timestamp(NOW + timedelta(minutes=30))
    done = client.ok("POST", f"endpoints/{endpoint.id}/redeliver", {"since": since})
    world.run_for(60)
    assert done == {"redelivered": 2, "cursor": None}
    assert {request.json()["id"] for request in world.receiver.accepted} == {"job1", "job2"}

    world.receiver.accepted.clear()
    done = client.ok("POST", "redeliver", {"since": format_timestamp(NOW)})
    world.run_for(60)
    assert done == {"redelivered": 4, "cursor": None}
    targets = sorted((request.json()["id"], request.url) for request in world.receiver.accepted)
    assert len(targets) == len(set(targets)) == 4


def test_a_long_redelivery_goes_on_where_it_stopped(client: Client, world: WebhookSimulation) -> None:
    for number in range(2):
        url = f"https://{number}.example/"
        world.endpoints.create(make_endpoint(id=f"ep_{number}", url=url, events=("completed",)))
    world.receiver.behavior = lambda _: respond(503, {"webhook-delivery": "abort-message"})
    for number in range(550):
        job = make_job(id=f"job{number:03}", webhook_events=("completed",))
        world.apply_changes((job, as_succeeded(job)))
    world.run_for(1200)

    total, calls, cursor = 0, 0, None
    while calls == 0 or cursor:
        done = client.ok(
            "POST", "redeliver", {"since": format_timestamp(NOW)} | ({"cursor": cursor} if cursor else {})
        )
        total, calls, cursor = total + done["redelivered"], calls + 1, done["cursor"]
    assert total == 550 * 3
    assert calls > 3


def test_enabling_an_endpoint_sends_what_it_missed(client: Client, world: WebhookSimulation) -> None:
    endpoint = make_endpoint(events=("completed",))
    world.endpoints.create(endpoint)
    world.receiver.behavior = lambda _: respond(410)
    for number in range(4):
        job = make_job(id=f"job{number}", webhook=None)
        world.apply_changes((job, as_succeeded(job)))
        world.run_for(60)
    delivery = client.ok("GET", f"endpoints/{endpoint.id}/deliveries")["results"][0]
    assert client.call("POST", f"deliveries/{delivery['id']}/redeliver")[0] == 409
    world.receiver.behavior = lambda _: respond(200)

    enabled = client.ok("POST", f"endpoints/{endpoint.id}/enable")
    world.run_for(60)

    assert (enabled["status"], enabled["redelivered"]) == ("enabled", 4)
    assert {request.json()["id"] for request in world.receiver.accepted} == {
        f"job{number}" for number in range(4)
    }


def test_enabling_may_let_lie_what_was_missed(client: Client, world: WebhookSimulation) -> None:
    endpoint = make_endpoint(events=("completed",))
    world.endpoints.create(endpoint)
    client.ok("PATCH", f"endpoints/{endpoint.id}", {"enabled": False})
    job = make_job(webhook=None)
    world.apply_changes((job, as_succeeded(job)))

    client.ok("POST", f"endpoints/{endpoint.id}/enable", {"redeliver": False})
    world.run_for(600)
    assert world.receiver.received == []


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
def test_anothers_is_as_unknown_as_what_never_was(
    world: WebhookSimulation, method: str, path: str, body: Any
) -> None:
    endpoint = make_endpoint()
    world.endpoints.create(endpoint)
    job = make_job()
    world.apply_changes((job, as_succeeded(job)))
    world.run_for()
    delivery = world.deliveries.list_by_job(TENANT, job.id)[0]
    stranger = Client(world, tenant="stranger")

    foreign = stranger.call(method, path.format(endpoint=endpoint.id, delivery=delivery.id), body)
    unknown = stranger.call(method, path.format(endpoint="ep_unknown", delivery="job.1.prediction"), body)

    assert foreign == unknown
    assert foreign[0] == 404


@pytest.mark.parametrize("name", ["deliveries", "attempts"])
def test_anothers_prediction_lists_like_one_that_never_was(world: WebhookSimulation, name: str) -> None:
    job = make_job()
    world.apply_changes((job, as_succeeded(job)))
    world.run_for()
    stranger = Client(world, tenant="stranger")
    unknown = job.id[:-1] + "z"
    assert stranger.call("GET", f"{name}?prediction={job.id}") == stranger.call(
        "GET", f"{name}?prediction={unknown}"
    )
    assert stranger.ok("GET", name)["results"] == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "default/secret"),
        ("POST", "default/secret/rotate"),
        ("POST", "endpoints"),
        *[(method, path) for method, path, _ in ROUTES if method != "GET" or path.endswith("secret")],
    ],
)
def test_changing_and_secrets_ask_for_the_writing_scope(
    world: WebhookSimulation, method: str, path: str
) -> None:
    reader = Client(world, scopes="predictions:read")
    body = {"url": "https://app.example/", "since": "2026-01-01T00:00:00Z"}
    status, _ = reader.call(
        method, path.format(endpoint="ep_1", delivery="x"), body if path == "endpoints" else None
    )
    assert status in {400, 403}


@pytest.mark.parametrize(
    "delivery", ["x", "a.b.c", "..", "a.1", "a.1.", "a.99999999999999.prediction", "a.01.prediction"]
)
def test_odd_delivery_ids_are_unknown(client: Client, delivery: str) -> None:
    assert client.call("GET", f"deliveries/{delivery}")[0] == 404


@pytest.mark.parametrize("path", ["", "nowhere", "endpoints/", "endpoints//secret", "default"])
def test_other_paths_are_unknown(client: Client, path: str) -> None:
    assert client.call("GET", path)[0] == 404
