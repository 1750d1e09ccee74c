"""Every kind of invalid request gets a problem document with the reason, and never a 5xx."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import requests

from tests.integration.api_client import ApiClient
from tools.local.stack import Stack

TIMEOUT_SECONDS = 120.0
VALID_BODY = {"version": "local/lab", "input": {}}
DEEP_BODY = b'{"version": "local/lab", "input": {"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}"

INVALID_BODIES: dict[str, tuple[int, str, Any]] = {
    "unknown field": (422, "surprise", {**VALID_BODY, "surprise": 1}),
    "missing input": (422, "input", {"version": "local/lab"}),
    "missing version": (422, "version", {"input": {}}),
    "input of wrong type": (422, "input", {**VALID_BODY, "input": "text"}),
    "version of wrong type": (422, "version", {**VALID_BODY, "version": 7}),
    "invalid version": (422, "version", {**VALID_BODY, "version": "not a version"}),
    "short version": (422, "version", {**VALID_BODY, "version": "abc123"}),
    "webhook of wrong type": (422, "webhook", {**VALID_BODY, "webhook": ["https://example.com"]}),
    "webhook without scheme": (422, "webhook", {**VALID_BODY, "webhook": "example.com/hook"}),
    "webhook over http": (422, "https", {**VALID_BODY, "webhook": "http://example.com/hook"}),
    "webhook over ftp": (422, "webhook", {**VALID_BODY, "webhook": "ftp://example.com/hook"}),
    "webhook with password": (422, "webhook", {**VALID_BODY, "webhook": "https://me:word@example.com/"}),
    "unknown event": (422, "webhook_events_filter", {**VALID_BODY, "webhook_events_filter": ["finish"]}),
    "list": (422, "object", [VALID_BODY]),
    "null": (422, "object", b"null"),
    "empty": (400, "JSON", b""),
    "truncated JSON": (400, "JSON", b'{"version": "local/lab", "input": {'),
    "NaN": (400, "JSON", b'{"version": "local/lab", "input": {"x": NaN}}'),
    "lone surrogate": (400, "surrogate", b'{"version": "local/lab", "input": {"x": "\\ud800"}}'),
    "very deep nesting": (400, "nesting", DEEP_BODY),
    "deep nesting": (422, "nested", {**VALID_BODY, "input": {"a": json.loads("[" * 70 + "]" * 70)}}),
    "oversized": (413, "upload", {**VALID_BODY, "input": {"x": "x" * 5_100_000}}),
}
"""(status, a word of the problem document, body) by what is invalid."""

INVALID_HEADERS = {
    "short cancel-after": {"cancel-after": "2s"},
    "unparsable cancel-after": {"cancel-after": "tomorrow"},
    "long idempotency key": {"idempotency-key": "k" * 256},
    "unknown image format": {"x-image-format": "bmp"},
    "high image quality": {"x-image-quality": "101"},
}
UNKNOWN_PATHS = (
    ("GET", "/v1/models/a/b/c/d/e"),
    ("GET", "/nothing/here"),
    ("DELETE", "/v1/predictions"),
    ("PUT", "/v1/predictions"),
    ("GET", "/v1/predictions/%00"),
    ("GET", "/v1/predictions/not-an-id"),
    ("POST", "/v1/predictions/not-an-id/cancel"),
    ("GET", "/v1/files/not-an-id"),
)
INVALID_QUERIES = (
    "/v1/predictions?cursor=rubbish",
    "/v1/predictions?created_after=yesterday",
    "/v1/predictions?created_before=2026-13-45T00:00:00Z",
    "/v1/models?evil=1",
    "/",
)


def _parse_problem(response: requests.Response, status: int) -> dict[str, Any]:
    """Check that the response is a problem document with the status, and return it."""
    assert response.status_code == status, response.text[:500]
    assert response.headers["content-type"].startswith("application/problem+json")
    problem: dict[str, Any] = response.json()
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    return problem


@pytest.mark.parametrize("name", INVALID_BODIES)
def test_invalid_body_is_rejected_without_creating_a_job(api: ApiClient, name: str) -> None:
    status, word, body = INVALID_BODIES[name]

    problem = _parse_problem(api.call("POST", "/v1/predictions", body), status)

    assert word in json.dumps(problem)
    assert status != 422 or all(
        {"type", "field", "description"} <= set(invalid) for invalid in problem["invalid_fields"]
    )
    assert api.call("GET", "/v1/predictions").json()["results"] == []


def test_invalid_utf8_is_rejected_or_replaced(api: ApiClient) -> None:
    """API Gateway passes bodies as text, so it may have replaced invalid bytes."""
    response = api.call("POST", "/v1/predictions", b'{"version": "local/lab", "input": {"x": "\xff\xfe"}}')

    assert response.status_code in {201, 400}
    if response.status_code == 201:
        assert api.wait_until_finished(response.json()["id"])["input"] == {"x": "\ufffd\ufffd"}


@pytest.mark.parametrize("name", INVALID_HEADERS)
def test_invalid_header_is_rejected_with_its_name(api: ApiClient, name: str) -> None:
    headers = INVALID_HEADERS[name]

    problem = _parse_problem(api.call("POST", "/v1/predictions", VALID_BODY, headers=headers), 422)

    assert problem["invalid_fields"][0]["field"].lower() == next(iter(headers))


@pytest.mark.parametrize(("method", "path"), UNKNOWN_PATHS)
def test_unknown_path_or_method_is_404(api: ApiClient, method: str, path: str) -> None:
    _parse_problem(api.call(method, path, VALID_BODY if method in {"POST", "PUT"} else None), 404)


def test_unknown_model_is_404_with_replicates_message(api: ApiClient) -> None:
    response = api.call("GET", "/v1/models/no/such-model")

    assert response.status_code == 404
    assert response.headers["content-type"].startswith("application/problem+json")
    assert response.json()["detail"]


@pytest.mark.parametrize("path", INVALID_QUERIES)
def test_invalid_query_is_400(api: ApiClient, path: str) -> None:
    _parse_problem(api.call("GET", path), 400)


@pytest.mark.parametrize("path", ["/v1/predictions", "/v1/account", "/?predictionId=x"])
def test_request_without_key_is_401(stack: Stack, path: str) -> None:
    read = requests.get(f"{stack.api_url}{path}", timeout=TIMEOUT_SECONDS)
    create = requests.post(f"{stack.api_url}/v1/predictions", json=VALID_BODY, timeout=TIMEOUT_SECONDS)

    _parse_problem(read, 401)
    _parse_problem(create, 401)


def test_unknown_key_is_401(stack: Stack) -> None:
    _parse_problem(ApiClient(stack.api_url, "rp_wrong_key").call("GET", "/v1/predictions"), 401)


def test_token_scheme_is_accepted(api: ApiClient) -> None:
    response = api.call("GET", "/v1/predictions", headers={"authorization": f"Token {api.key}"})

    assert response.status_code == 200


def test_file_of_another_tenant_cannot_be_an_input(api: ApiClient, make_api: Callable[[], ApiClient]) -> None:
    owner = make_api()
    form = {"content": ("a.txt", b"mine alone", "text/plain")}
    headers = {"authorization": f"Bearer {owner.key}"}
    response = requests.post(f"{api.url}/v1/files", files=form, headers=headers, timeout=TIMEOUT_SECONDS)
    body = {**VALID_BODY, "input": {"file": response.json()["urls"]["get"]}}

    problem = _parse_problem(api.call("POST", "/v1/predictions", body), 422)

    assert problem["invalid_fields"][0]["field"] == "input.file"
    assert owner.call("POST", "/v1/predictions", body).status_code == 201


def test_forged_webhook_of_replicate_is_rejected(api: ApiClient, stack: Stack) -> None:
    job = api.create("local/lab", {"hold": True})
    body = json.dumps({"id": "x", "status": "succeeded", "output": "forged"}).encode()
    forged_signature = {
        "webhook-id": "msg_1",
        "webhook-timestamp": "1700000000",
        "webhook-signature": "v1,Zm9yZ2Vk",
    }
    url = f"{stack.api_url}/webhooks/replicate?tenant={api.tenant}&job={job['id']}&attempt=1&sig=00"

    no_signature: dict[str, str] = {}
    responses = [
        requests.post(url, data=body, headers=headers, timeout=TIMEOUT_SECONDS)
        for headers in (no_signature, forged_signature)
    ]

    assert all(response.status_code in {400, 401, 403, 404} for response in responses)
    assert api.get(job["id"])["status"] in {"starting", "processing"}
    api.call("POST", f"/v1/predictions/{job['id']}/cancel")


def test_health_needs_no_key(stack: Stack) -> None:
    assert requests.get(f"{stack.api_url}/health", timeout=TIMEOUT_SECONDS).status_code == 200
