"""Bad input of every kind gets a problem that says why, never a 5xx."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import requests

from tests.integration.api import CALL_SECONDS, ApiClient
from tools.local.stack import Stack

GOOD = {"version": "local/lab", "input": {}}
DEEP = b'{"version": "local/lab", "input": {"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}"

BODIES: dict[str, tuple[int, str, Any]] = {
    "unknown field": (422, "surprise", {**GOOD, "surprise": 1}),
    "missing input": (422, "input", {"version": "local/lab"}),
    "missing version": (422, "version", {"input": {}}),
    "input of wrong type": (422, "input", {**GOOD, "input": "text"}),
    "version of wrong type": (422, "version", {**GOOD, "version": 7}),
    "bad version": (422, "version", {**GOOD, "version": "not a version"}),
    "short version": (422, "version", {**GOOD, "version": "abc123"}),
    "webhook of wrong type": (422, "webhook", {**GOOD, "webhook": ["https://example.com"]}),
    "webhook that is no URL": (422, "webhook", {**GOOD, "webhook": "example.com/hook"}),
    "webhook by plain http": (422, "HTTPS", {**GOOD, "webhook": "http://example.com/hook"}),
    "webhook by ftp": (422, "webhook", {**GOOD, "webhook": "ftp://example.com/hook"}),
    "webhook with password": (422, "webhook", {**GOOD, "webhook": "https://me:word@example.com/"}),
    "unknown webhook event": (422, "webhook_events_filter", {**GOOD, "webhook_events_filter": ["finish"]}),
    "body is a list": (422, "object", [GOOD]),
    "body is null": (422, "object", b"null"),
    "empty body": (400, "JSON", b""),
    "broken JSON": (400, "JSON", b'{"version": "local/lab", "input": {'),
    "not a number": (400, "JSON", b'{"version": "local/lab", "input": {"x": NaN}}'),
    "half a surrogate pair": (400, "surrogate", b'{"version": "local/lab", "input": {"x": "\\ud800"}}'),
    "very deep nesting": (400, "nesting", DEEP),
    "deep nesting": (422, "nested", {**GOOD, "input": {"a": json.loads("[" * 70 + "]" * 70)}}),
    "oversize body": (413, "upload", {**GOOD, "input": {"x": "x" * 5_100_000}}),
}
HEADERS = {
    "cancel-after too short": {"cancel-after": "2s"},
    "cancel-after unreadable": {"cancel-after": "tomorrow"},
    "idempotency key too long": {"idempotency-key": "k" * 256},
    "image format unknown": {"x-image-format": "bmp"},
    "image quality too high": {"x-image-quality": "101"},
}
NOT_THERE = (
    ("GET", "/v1/trainings"),
    ("GET", "/v1/models/a/b/c/d/e"),
    ("GET", "/nothing/here"),
    ("POST", "/v1/models"),
    ("DELETE", "/v1/predictions"),
    ("PUT", "/v1/predictions"),
    ("GET", "/v1/predictions/%00"),
    ("GET", "/v1/predictions/not-an-id"),
    ("POST", "/v1/predictions/not-an-id/cancel"),
    ("GET", "/v1/files/not-an-id"),
)
QUERIES = (
    "/v1/predictions?cursor=rubbish",
    "/v1/predictions?created_after=yesterday",
    "/v1/predictions?created_before=2026-13-45T00:00:00Z",
    "/v1/models?evil=1",
    "/",
)


def problem(answer: requests.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text[:500]
    assert answer.headers["content-type"].startswith("application/problem+json")
    body: dict[str, Any] = answer.json()
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    return body


@pytest.mark.parametrize("what", BODIES)
def test_bad_body(api: ApiClient, what: str) -> None:
    status, word, body = BODIES[what]

    refused = problem(api.call("POST", "/v1/predictions", body), status)

    assert word in json.dumps(refused)
    assert status != 422 or all(
        {"type", "field", "description"} <= set(each) for each in refused["invalid_fields"]
    )
    assert api.call("GET", "/v1/predictions").json()["results"] == []


def test_invalid_utf8_is_refused_or_replaced_but_breaks_nothing(api: ApiClient) -> None:
    """API Gateway hands bodies over as text, so whatever was no UTF-8 may have been replaced by then."""
    answer = api.call("POST", "/v1/predictions", b'{"version": "local/lab", "input": {"x": "\xff\xfe"}}')

    assert answer.status_code in {201, 400}
    if answer.status_code == 201:
        assert api.wait_until_finished(answer.json()["id"])["input"] == {"x": "\ufffd\ufffd"}


@pytest.mark.parametrize("what", HEADERS)
def test_bad_header(api: ApiClient, what: str) -> None:
    refused = problem(api.call("POST", "/v1/predictions", GOOD, headers=HEADERS[what]), 422)

    assert refused["invalid_fields"][0]["field"].lower() == next(iter(HEADERS[what]))


@pytest.mark.parametrize(("method", "path"), NOT_THERE)
def test_unknown_path_or_method(api: ApiClient, method: str, path: str) -> None:
    problem(api.call(method, path, GOOD if method in {"POST", "PUT"} else None), 404)


def test_unknown_model_is_404_in_replicates_own_words(api: ApiClient) -> None:
    answer = api.call("GET", "/v1/models/no/such-model")

    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert answer.json()["detail"]


@pytest.mark.parametrize("path", QUERIES)
def test_bad_query(api: ApiClient, path: str) -> None:
    problem(api.call("GET", path), 400)


@pytest.mark.parametrize("path", ["/v1/predictions", "/v1/account", "/?predictionId=x"])
def test_no_key(stack: Stack, path: str) -> None:
    problem(requests.get(f"{stack.api_url}{path}", timeout=CALL_SECONDS), 401)
    problem(requests.post(f"{stack.api_url}/v1/predictions", json=GOOD, timeout=CALL_SECONDS), 401)


def test_wrong_key(stack: Stack) -> None:
    headers = {"authorization": "Bearer rp_wrong_key"}

    problem(requests.get(f"{stack.api_url}/v1/predictions", headers=headers, timeout=CALL_SECONDS), 401)


def test_older_token_scheme_is_as_good(api: ApiClient) -> None:
    answer = api.call("GET", "/v1/predictions", headers={"authorization": f"Token {api.key}"})

    assert answer.status_code == 200


def test_foreign_file_is_no_input(api: ApiClient, make_api: Callable[[], ApiClient]) -> None:
    other = make_api()
    form = {"content": ("a.txt", b"mine alone", "text/plain")}
    bearer = {"authorization": f"Bearer {other.key}"}
    made = requests.post(f"{api.url}/v1/files", files=form, headers=bearer, timeout=CALL_SECONDS).json()

    body = {**GOOD, "input": {"file": made["urls"]["get"]}}
    refused = problem(api.call("POST", "/v1/predictions", body), 422)

    assert refused["invalid_fields"][0]["field"] == "input.file"
    assert other.call("POST", "/v1/predictions", body).status_code == 201


def test_forged_webhook_of_replicate_is_refused(api: ApiClient, stack: Stack) -> None:
    job = api.create("local/lab", {"hold": True})
    body = json.dumps({"id": "x", "status": "succeeded", "output": "forged"}).encode()
    signed = {"webhook-id": "msg_1", "webhook-timestamp": "1700000000", "webhook-signature": "v1,Zm9yZ2Vk"}
    address = f"{stack.api_url}/webhooks/replicate?tenant={api.tenant}&job={job['id']}&attempt=1&sig=00"

    answers = [
        requests.post(address, data=body, headers=headers, timeout=CALL_SECONDS) for headers in ({}, signed)
    ]

    assert all(answer.status_code in {400, 401, 403, 404} for answer in answers)
    assert api.get(job["id"])["status"] in {"starting", "processing"}
    api.call("POST", f"/v1/predictions/{job['id']}/cancel")


def test_health_needs_no_key(stack: Stack) -> None:
    assert requests.get(f"{stack.api_url}/health", timeout=CALL_SECONDS).status_code == 200
