"""Keys, tenants and files on the deployed stack: the authorizer, IAM and S3 as they really play together."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import pytest
import requests

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate.client import Client

    from tools.local.stack import Stack

UNKNOWN = "0" * 26


class Caller:
    """Sends requests with one credential."""

    def __init__(self, stack: Stack, credential: str, *, scheme: str = "Bearer") -> None:
        self._base = stack.api_url
        self._headers = {"Authorization": f"{scheme} {credential}"}

    def __call__(self, method: str, path: str, **options: Any) -> requests.Response:
        headers = {**self._headers, **options.pop("headers", {})}
        return requests.request(method, self._base + path, headers=headers, timeout=60, **options)


@pytest.fixture
def operator(stack: Stack) -> Caller:
    return Caller(stack, stack.admin_key)


@pytest.fixture
def tenant_key(operator: Caller) -> Callable[..., dict[str, Any]]:
    def make(tenant: str, **fields: Any) -> dict[str, Any]:
        made = operator("POST", "/admin/keys", json={"tenant": tenant, **fields})
        assert made.status_code == 201, made.text
        body: dict[str, Any] = made.json()
        return body

    return make


def test_a_key_lives_from_creation_to_revocation(stack: Stack, operator: Caller, tenant_key: Any) -> None:
    made = tenant_key("acme")
    assert Caller(stack, made["key"])("GET", "/v1/predictions").status_code == 200
    assert Caller(stack, made["key"], scheme="Token")("GET", "/v1/predictions").status_code == 200

    turned = operator("POST", f"/admin/keys/{made['id']}/rotate", json={"overlap_seconds": 3600}).json()
    for text in (made["key"], turned["key"]):
        assert Caller(stack, text)("GET", "/v1/predictions").status_code == 200

    assert operator("DELETE", f"/admin/keys/{made['id']}").status_code == 200
    for text in (made["key"], turned["key"]):
        refused = Caller(stack, text)("GET", "/v1/predictions")
        assert (refused.status_code, refused.json()["status"]) == (401, 401)


@pytest.mark.parametrize(
    "credential", ["rp_aaaaaaaaaaaa_" + "0" * 43, "r8_" + "x" * 37, "eyJhbGciOiJub25lIn0.e30."]
)
def test_what_is_no_credential_of_ours_is_401(stack: Stack, credential: str) -> None:
    reply = Caller(stack, credential)("GET", "/v1/predictions")
    assert reply.status_code == 401
    assert reply.headers["content-type"] == "application/problem+json"


def test_a_key_for_another_address_is_403(stack: Stack, tenant_key: Any) -> None:
    made = tenant_key("acme", allowed_ips=["198.51.100.0/24"])
    reply = Caller(stack, made["key"])("GET", "/v1/predictions")
    assert (reply.status_code, reply.headers["content-type"]) == (403, "application/problem+json")
    here = tenant_key("acme", allowed_ips=["127.0.0.0/8"])
    assert Caller(stack, here["key"])("GET", "/v1/predictions").status_code == 200


def test_a_tenants_key_is_no_operators(stack: Stack, tenant_key: Any) -> None:
    made = tenant_key("acme")
    for method, path in (
        ("GET", "/admin/keys"),
        ("POST", "/admin/queues/dispatch/redrive"),
        ("GET", "/admin/breaker"),
    ):
        body: dict[str, Any] | None = {} if method == "POST" else None
        assert Caller(stack, made["key"])(method, path, json=body).status_code == 403


def test_scopes_are_asked_for(stack: Stack, tenant_key: Any) -> None:
    reader = Caller(stack, tenant_key("acme", scopes=["predictions:read"])["key"])
    assert reader("GET", "/v1/predictions").status_code == 200
    assert reader("POST", "/v1/predictions", json={"version": "a/b", "input": {}}).status_code == 403
    assert reader("POST", "/v1/uploads", json={"filename": "a"}).status_code == 403


def test_a_key_runs_its_models_only(stack: Stack, tenant_key: Any) -> None:
    caller = Caller(stack, tenant_key("acme", allowed_models=["acme/*"])["key"])
    reply = caller("POST", "/v1/models/other/model/predictions", json={"input": {}})
    assert reply.status_code == 403


def test_the_operators_routes_work_with_the_rights_that_the_template_gives(operator: Caller) -> None:
    assert operator("GET", "/admin/breaker").json()["state"] == "closed"
    names = {queue["name"] for queue in operator("GET", "/admin/queues").json()["results"]}
    assert names == {"dispatch", "track", "harvest", "notify", "bus", "notify-stream", "sweep"}
    for name in names:
        assert operator("GET", f"/admin/queues/{name}/dead-letters").status_code == 200
    put = operator("PUT", "/admin/tenants/acme", json={"images": {"format": "webp"}})
    assert (put.status_code, operator("GET", "/admin/tenants/acme").json()) == (200, put.json())
    assert operator("DELETE", "/admin/tenants/acme").status_code == 204
    assert operator("POST", "/admin/webhook-secret/refresh", json={}).json()["valid_count"] >= 1


def test_dead_letters_go_back_where_they_came_from(stack: Stack, operator: Caller) -> None:
    sqs = stack.get_client("sqs")
    body = json.dumps({"kind": "submit", "tenant": "nobody", "job_id": UNKNOWN, "correlation_id": "test"})
    sqs.send_message(
        QueueUrl=stack.outputs["DispatchDeadLetterQueueUrl"], MessageBody=body, MessageGroupId="nobody"
    )
    wanted = {"tenant": "nobody"}
    seen = operator("GET", "/admin/queues/dispatch/dead-letters").json()["results"]
    assert "nobody" in {letter.get("tenant") for letter in seen}
    assert operator("POST", "/admin/queues/dispatch/redrive", json=wanted).json()["handled"] == 1
    assert operator("POST", "/admin/queues/dispatch/redrive", json=wanted).json()["handled"] == 0


def test_the_python_clients_files(client: Client) -> None:
    file = client.files.create(io.BytesIO(b"\x89PNG cat"), filename="cat.png", metadata={"album": 7})
    assert (file.name, file.size, file.metadata) == ("cat.png", 8, {"album": 7})
    assert client.files.get(file.id).checksums == file.checksums
    assert file.id in {listed.id for listed in client.files.list()}
    fetched = requests.get(file.urls["get"], timeout=30)
    assert (fetched.status_code, fetched.content) == (200, b"\x89PNG cat")
    assert "attachment" in fetched.headers["content-disposition"]
    assert client.files.delete(file.id)
    assert requests.get(file.urls["get"], timeout=30).status_code == 404


def test_a_large_file_goes_straight_to_the_bucket(stack: Stack) -> None:
    caller = Caller(stack, stack.api_key)
    announced = caller("POST", "/v1/uploads", json={"filename": "big.bin", "size": 12_000_000}).json()
    form = announced["upload"]
    short = requests.post(form["url"], data=form["fields"], files={"file": b"x"}, timeout=30)
    assert short.status_code >= 400
    assert caller("GET", f"/v1/files/{announced['id']}").json()["status"] == "awaiting_upload"
    sent = requests.post(form["url"], data=form["fields"], files={"file": b"x" * 12_000_000}, timeout=60)
    assert sent.ok
    assert caller("GET", f"/v1/files/{announced['id']}").json()["size"] == 12_000_000
    assert len(requests.get(announced["urls"]["get"], timeout=60).content) == 12_000_000


def test_another_tenants_file_is_neither_seen_nor_named(
    stack: Stack, client: Client, tenant_key: Any
) -> None:
    file = client.files.create(io.BytesIO(b"mine"), filename="mine.txt")
    other = Caller(stack, tenant_key("globex")["key"])
    for method in ("GET", "DELETE"):
        foreign, unknown = other(method, f"/v1/files/{file.id}"), other(method, f"/v1/files/{UNKNOWN}")
        assert (foreign.status_code, foreign.json()) == (unknown.status_code, unknown.json())
    named = other("POST", "/v1/predictions", json={"version": "a/b", "input": {"image": file.urls["get"]}})
    assert (named.status_code, named.json()["invalid_fields"][0]["field"]) == (422, "input.image")


def test_every_route_gives_a_foreign_id_the_answer_of_an_unknown_one(
    stack: Stack, client: Client, tenant_key: Any
) -> None:
    file = client.files.create(io.BytesIO(b"mine"), filename="mine.txt")
    mine = Caller(stack, stack.api_key)
    made = mine(
        "POST",
        "/v1/predictions",
        json={"version": "black-forest-labs/flux-schnell", "input": {"prompt": "x"}},
    )
    assert made.status_code == 201, made.text
    job = made.json()["id"]
    other = Caller(stack, tenant_key("globex")["key"])
    routes = [
        ("GET", "/v1/predictions/{}", job),
        ("POST", "/v1/predictions/{}/cancel", job),
        ("GET", "/?predictionId={}", job),
        ("GET", "/v1/files/{}", file.id),
        ("DELETE", "/v1/files/{}", file.id),
        ("GET", "/v1/webhooks/deliveries/{}", f"{job}.1.prediction"),
        ("GET", "/v1/webhooks/endpoints/{}", job),
    ]
    for method, path, known in routes:
        foreign = other(method, path.format(known))
        unknown = other(method, path.format(UNKNOWN))
        assert foreign.status_code == 404, (method, path, foreign.text)
        assert foreign.json() == unknown.json(), (method, path)
    assert job not in other("GET", "/v1/predictions").text
    assert mine("GET", f"/v1/predictions/{job}").status_code == 200
