"""Keys, files and administration on the deployed stack, where authorizer, IAM and S3 work together."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import pytest
import requests

from tests.integration.api_client import ApiClient

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate.client import Client

    from tools.local.stack import Stack

UNKNOWN_ID = "0" * 26
PROBLEM_TYPE = "application/problem+json"


@pytest.fixture
def create_key(operator: ApiClient) -> Callable[..., dict[str, Any]]:
    """create_key("tenant", **fields) creates a key through the admin API."""

    def create(tenant: str, **fields: Any) -> dict[str, Any]:
        response = operator.call("POST", "/admin/keys", {"tenant": tenant, **fields})
        assert response.status_code == 201, response.text
        key: dict[str, Any] = response.json()
        return key

    return create


@pytest.fixture
def other_tenant(stack: Stack, create_key: Callable[..., dict[str, Any]]) -> ApiClient:
    return ApiClient(stack.api_url, create_key("globex")["key"])


def test_key_is_valid_from_its_creation_to_its_revocation(
    stack: Stack, operator: ApiClient, create_key: Callable[..., dict[str, Any]]
) -> None:
    created = create_key("acme")
    api = ApiClient(stack.api_url, created["key"])
    token_scheme = {"authorization": f"Token {created['key']}"}
    assert api.call("GET", "/v1/predictions").status_code == 200
    assert api.call("GET", "/v1/predictions", headers=token_scheme).status_code == 200

    rotation = operator.call("POST", f"/admin/keys/{created['id']}/rotate", {"overlap_seconds": 3600})
    secrets = (created["key"], rotation.json()["key"])
    for secret in secrets:
        assert ApiClient(stack.api_url, secret).call("GET", "/v1/predictions").status_code == 200

    assert operator.call("DELETE", f"/admin/keys/{created['id']}").status_code == 200
    for secret in secrets:
        response = ApiClient(stack.api_url, secret).call("GET", "/v1/predictions")
        assert (response.status_code, response.json()["status"]) == (401, 401)


@pytest.mark.parametrize(
    "credential", ["rp_aaaaaaaaaaaa_" + "0" * 43, "r8_" + "x" * 37, "eyJhbGciOiJub25lIn0.e30."]
)
def test_unknown_credential_is_401(stack: Stack, credential: str) -> None:
    response = ApiClient(stack.api_url, credential).call("GET", "/v1/predictions")

    assert response.status_code == 401
    assert response.headers["content-type"] == PROBLEM_TYPE


def test_key_is_403_when_caller_has_another_address(
    stack: Stack, create_key: Callable[..., dict[str, Any]]
) -> None:
    remote_key = create_key("acme", allowed_ips=["198.51.100.0/24"])
    local_key = create_key("acme", allowed_ips=["127.0.0.0/8"])

    response = ApiClient(stack.api_url, remote_key["key"]).call("GET", "/v1/predictions")

    assert (response.status_code, response.headers["content-type"]) == (403, PROBLEM_TYPE)
    assert ApiClient(stack.api_url, local_key["key"]).call("GET", "/v1/predictions").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/admin/keys", None),
        ("POST", "/admin/queues/dispatch/redrive", {}),
        ("GET", "/admin/breaker", None),
    ],
)
def test_admin_api_is_403_for_key_of_a_tenant(
    stack: Stack,
    create_key: Callable[..., dict[str, Any]],
    method: str,
    path: str,
    body: dict[str, Any] | None,
) -> None:
    assert ApiClient(stack.api_url, create_key("acme")["key"]).call(method, path, body).status_code == 403


def test_request_is_403_when_scope_is_missing(
    stack: Stack, create_key: Callable[..., dict[str, Any]]
) -> None:
    reader = ApiClient(stack.api_url, create_key("acme", scopes=["predictions:read"])["key"])

    assert reader.call("GET", "/v1/predictions").status_code == 200
    assert reader.call("POST", "/v1/predictions", {"version": "a/b", "input": {}}).status_code == 403
    assert reader.call("POST", "/v1/uploads", {"filename": "a"}).status_code == 403


def test_prediction_is_403_when_key_does_not_allow_the_model(
    stack: Stack, create_key: Callable[..., dict[str, Any]]
) -> None:
    api = ApiClient(stack.api_url, create_key("acme", allowed_models=["acme/*"])["key"])

    response = api.call("POST", "/v1/models/other/model/predictions", {"input": {}})

    assert response.status_code == 403


def test_admin_function_has_the_permissions_for_all_its_routes(operator: ApiClient) -> None:
    assert operator.call("GET", "/admin/breaker").json()["state"] == "closed"
    names = {queue["name"] for queue in operator.call("GET", "/admin/queues").json()["results"]}
    assert names == {
        *("dispatch", "batch-dispatch", "track", "harvest", "notify"),
        *("bus", "notify-stream", "sweep"),
    }
    for name in names:
        assert operator.call("GET", f"/admin/queues/{name}/dead-letters").status_code == 200
    settings = operator.call("PUT", "/admin/tenants/acme", {"images": {"format": "webp"}})
    assert settings.status_code == 200
    assert operator.call("GET", "/admin/tenants/acme").json() == settings.json()
    assert operator.call("POST", "/admin/webhook-secret/refresh", {}).json()["valid_count"] >= 1


def test_dead_letters_of_a_tenant_are_redriven_once(stack: Stack, operator: ApiClient) -> None:
    command = {"kind": "submit", "tenant": "dead-letters", "job_id": UNKNOWN_ID, "correlation_id": "test"}
    stack.get_client("sqs").send_message(
        QueueUrl=stack.outputs["DispatchDeadLetterQueueUrl"],
        MessageBody=json.dumps(command),
        MessageGroupId="dead-letters",
    )
    path = "/admin/queues/dispatch"

    dead_letters = operator.call("GET", f"{path}/dead-letters").json()["results"]
    assert "dead-letters" in {dead_letter.get("tenant") for dead_letter in dead_letters}
    assert operator.call("POST", f"{path}/redrive", {"tenant": "dead-letters"}).json()["handled"] == 1
    assert operator.call("POST", f"{path}/redrive", {"tenant": "dead-letters"}).json()["handled"] == 0


def test_python_client_manages_files(client: Client) -> None:
    file = client.files.create(io.BytesIO(b"\x89PNG cat"), filename="cat.png", metadata={"album": 7})
    assert (file.name, file.size, file.metadata) == ("cat.png", 8, {"album": 7})
    assert client.files.get(file.id).checksums == file.checksums
    assert file.id in {listed.id for listed in client.files.list()}
    download = requests.get(file.urls["get"], timeout=30)
    assert (download.status_code, download.content) == (200, b"\x89PNG cat")
    assert "attachment" in download.headers["content-disposition"]
    head = requests.head(file.urls["get"], timeout=30, allow_redirects=True)
    assert (head.status_code, head.headers["content-length"]) == (200, "8")
    assert client.files.delete(file.id)
    assert requests.get(file.urls["get"], timeout=30).status_code == 404


def test_large_file_is_uploaded_to_the_bucket_with_a_form(stack: Stack) -> None:
    api = ApiClient(stack.api_url, stack.api_key)
    file = api.call("POST", "/v1/uploads", {"filename": "big.bin", "size": 12_000_000}).json()
    form = file["upload"]

    too_short = requests.post(form["url"], data=form["fields"], files={"file": b"x"}, timeout=30)
    assert too_short.status_code >= 400
    assert api.call("GET", f"/v1/files/{file['id']}").json()["status"] == "awaiting_upload"

    complete = requests.post(form["url"], data=form["fields"], files={"file": b"x" * 12_000_000}, timeout=60)
    assert complete.ok
    assert api.call("GET", f"/v1/files/{file['id']}").json()["size"] == 12_000_000
    assert len(requests.get(file["urls"]["get"], timeout=60).content) == 12_000_000


def test_larger_file_is_uploaded_to_the_bucket_in_parts(stack: Stack) -> None:
    api = ApiClient(stack.api_url, stack.api_key)
    size = 101 * 1024 * 1024
    file = api.call("POST", "/v1/uploads", {"filename": "huge.bin", "size": size}).json()
    *others, last = file["upload"]["parts"]
    complete_path = f"/v1/uploads/{file['id']}/complete"

    for part in others:
        content = bytes([part["part_number"]]) * part["size"]
        assert requests.put(part["url"], data=content, timeout=60).ok
    assert api.call("POST", complete_path).status_code == 409
    assert api.call("GET", f"/v1/files/{file['id']}").json()["status"] == "awaiting_upload"
    (missing,) = api.call("GET", f"/v1/uploads/{file['id']}").json()["upload"]["parts"]
    assert (missing["part_number"], missing["size"]) == (last["part_number"], last["size"])
    assert requests.put(missing["url"], data=b"z" * missing["size"], timeout=60).ok

    assert api.call("POST", complete_path).json()["size"] == size
    assert api.call("POST", complete_path).json()["size"] == size
    content = requests.get(file["urls"]["get"], timeout=60).content
    assert (len(content), content[0], content[-1:]) == (size, 1, b"z")
    assert api.call("DELETE", f"/v1/files/{file['id']}").status_code == 204


def test_upload_in_parts_ends_with_the_deletion_of_its_file(stack: Stack) -> None:
    api = ApiClient(stack.api_url, stack.api_key)
    file = api.call("POST", "/v1/uploads", {"filename": "huge.bin", "size": 200_000_000}).json()
    part = file["upload"]["parts"][-1]
    assert requests.put(part["url"], data=b"x" * part["size"], timeout=60).ok

    assert api.call("DELETE", f"/v1/files/{file['id']}").status_code == 204

    assert api.call("GET", f"/v1/uploads/{file['id']}").status_code == 404
    s3 = stack.get_client("s3")
    uploads = s3.list_multipart_uploads(Bucket=stack.outputs["DataBucketName"]).get("Uploads", [])
    assert [upload for upload in uploads if upload["Key"].endswith(file["id"])] == []


def test_file_of_another_tenant_is_unknown_and_cannot_be_an_input(
    client: Client, other_tenant: ApiClient
) -> None:
    file = client.files.create(io.BytesIO(b"mine"), filename="mine.txt")

    for method in ("GET", "DELETE"):
        foreign = other_tenant.call(method, f"/v1/files/{file.id}")
        unknown = other_tenant.call(method, f"/v1/files/{UNKNOWN_ID}")
        assert (foreign.status_code, foreign.json()) == (unknown.status_code, unknown.json())
    body = {"version": "a/b", "input": {"image": file.urls["get"]}}
    response = other_tenant.call("POST", "/v1/predictions", body)
    assert (response.status_code, response.json()["invalid_fields"][0]["field"]) == (422, "input.image")


def test_every_route_answers_ids_of_another_tenant_like_unknown_ids(
    stack: Stack, client: Client, other_tenant: ApiClient
) -> None:
    file = client.files.create(io.BytesIO(b"mine"), filename="mine.txt")
    owner = ApiClient(stack.api_url, stack.api_key)
    job_id = owner.create("black-forest-labs/flux-schnell", {"prompt": "x"})["id"]
    routes = [
        ("GET", "/v1/predictions/{}", job_id),
        ("POST", "/v1/predictions/{}/cancel", job_id),
        ("GET", "/?predictionId={}", job_id),
        ("GET", "/v1/files/{}", file.id),
        ("DELETE", "/v1/files/{}", file.id),
        ("GET", "/v1/webhooks/deliveries/{}", f"{job_id}.1.prediction"),
        ("GET", "/v1/webhooks/endpoints/{}", job_id),
    ]

    for method, path, known_id in routes:
        foreign = other_tenant.call(method, path.format(known_id))
        unknown = other_tenant.call(method, path.format(UNKNOWN_ID))
        assert foreign.status_code == 404, (method, path, foreign.text)
        assert foreign.json() == unknown.json(), (method, path)
    assert job_id not in other_tenant.call("GET", "/v1/predictions").text
    assert owner.call("GET", f"/v1/predictions/{job_id}").status_code == 200
