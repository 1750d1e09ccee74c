"""HTTP behind API Gateway: requests in, replies out, and every error a problem."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from replicate_proxy.api.http import Request, Response, Router, json_response
from replicate_proxy.errors import (
    ApiError,
    ConflictError,
    InvalidField,
    NotFoundError,
    PermanentError,
    RetryableError,
)
from tests.support.builders import make_event

routes = Router()


@routes.post("/v1/predictions")
def echo(request: Request) -> Response:
    return json_response(200, request.json())


def handle(**fields: Any) -> tuple[int, dict[str, Any]]:
    response = routes.handle(make_event("POST", **fields))
    return response["statusCode"], json.loads(response["body"])


def raising(error: Exception) -> Response:
    broken = Router()

    @broken.get("/")
    def fail(_: Request) -> Response:
        raise error

    return broken.handle(make_event("GET", "/"))


def test_a_body_comes_as_it_was_sent() -> None:
    assert handle(body={"text": "ü🙂"}) == (200, {"text": "ü🙂"})


def test_a_base64_body_is_decoded() -> None:
    body = base64.b64encode('{"text": "ü"}'.encode()).decode()
    assert handle(body=body, isBase64Encoded=True) == (200, {"text": "ü"})


@pytest.mark.parametrize(
    ("body", "encoded", "says"),
    [
        ("", False, "not JSON"),
        ("{", False, "line 1, column 2"),
        ("{'a': 1}", False, "not JSON"),
        ('{"a": NaN}', False, "out of bounds"),
        ('{"a": Infinity}', False, "out of bounds"),
        ('{"a": ' + "1" * 5000 + "}", False, "out of bounds"),
        ("[" * 100_000, False, ""),
        ('{"a": "\\ud800"}', False, "surrogate"),
        ('{"a": "\ud800"}', False, "not UTF-8"),
        ("ÿþ", True, "base64"),
        ("a", True, "base64"),
        (base64.b64encode(b'{"a": "\xff"}').decode(), True, "not UTF-8"),
    ],
)
def test_a_body_that_is_no_json_is_refused_in_words(body: str, *, encoded: bool, says: str) -> None:
    status, reply = handle(body=body, isBase64Encoded=encoded)
    assert status == 400
    assert says in reply["detail"]


@pytest.mark.parametrize(("method", "resource"), [("GET", "/v1/predictions"), ("POST", "/nowhere")])
def test_an_unknown_route_is_not_found(method: str, resource: str) -> None:
    response = routes.handle(make_event(method, resource))
    assert response["statusCode"] == 404
    assert response["headers"]["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NotFoundError("job x of tenant y"), 404),
        (RetryableError("table is busy"), 503),
        (ConflictError("rev 7"), 503),
        (PermanentError("table is gone"), 500),
        (KeyError("secret"), 500),
        (RecursionError("secret"), 500),
    ],
)
def test_errors_tell_the_caller_nothing_of_the_inside(error: Exception, status: int) -> None:
    response = raising(error)
    assert response["statusCode"] == status
    assert json.loads(response["body"])["status"] == status
    for word in ("secret", "Traceback", "table", "tenant", "rev"):
        assert word not in response["body"]


def test_a_passing_failure_says_when_to_come_again() -> None:
    response = raising(RetryableError("busy", retry_after=17))
    assert response["headers"]["retry-after"] == "17"
    assert json.loads(response["body"])["retry_after"] == 17


def test_a_problem_has_replicates_shape() -> None:
    error = ApiError(
        422,
        "Input validation failed",
        "- input is required\n",
        invalid_fields=[InvalidField("required", "input", "input is required")],
        headers={"x-extra": "1"},
    )
    response = raising(error)
    assert response["headers"]["x-extra"] == "1"
    assert json.loads(response["body"]) == {
        "title": "Input validation failed",
        "detail": "- input is required\n",
        "status": 422,
        "invalid_fields": [{"type": "required", "field": "input", "description": "input is required"}],
    }


def test_headers_are_found_whatever_their_case() -> None:
    request = Request.from_event(make_event(headers={"X-Thing": "1"}))
    assert request.headers["x-thing"] == "1"


def test_an_event_without_its_optional_parts_is_a_request() -> None:
    event = {"httpMethod": "GET", "resource": "/health", "path": "/health", "headers": None, "body": None}
    request = Request.from_event(event)
    assert (request.body, request.query, request.path_params, request.request_id) == (b"", {}, {}, "")
    with pytest.raises(ApiError) as refused:
        _ = request.principal
    assert refused.value.status == 401


@pytest.mark.parametrize(
    ("resource", "params", "path", "prefix"),
    [
        ("/v1/predictions", {}, "/prod/v1/predictions", "/prod"),
        ("/v1/predictions", {}, "/prod/v1/predictions/", "/prod"),
        ("/v1/predictions", {}, "/v1/predictions", ""),
        ("/v1/predictions", {}, "/v1/v1/predictions", "/v1"),
        ("/v1/predictions", {}, "/base/path/v1/predictions", "/base/path"),
        ("/", {}, "/prod", "/prod"),
        ("/", {}, "/prod/", "/prod"),
        ("/", {}, "/", ""),
        ("/v1/predictions/{prediction_id}", {"prediction_id": "abc"}, "/prod/v1/predictions/abc", "/prod"),
        ("/v1/predictions/{prediction_id}/cancel", {}, "/prod/v1/predictions/a%20b/cancel", "/prod"),
        ("/v1/predictions/{prediction_id}/cancel", {}, "/prod/v1/predictions/a b/cancel", "/prod"),
        ("/v1/models/{owner}/{name}/predictions", {}, "/prod/v1/models/v1/models/predictions", "/prod"),
        ("/admin/{proxy+}", {"proxy": "keys/a/b"}, "/prod/admin/keys/a/b", "/prod"),
    ],
)
def test_our_own_address_is_what_stands_before_the_route(
    resource: str, params: dict[str, str], path: str, prefix: str
) -> None:
    event = make_event("GET", resource, params=params)
    event["requestContext"]["path"] = path
    assert Request.from_event(event).base_url == f"https://proxy.test{prefix}"


def test_the_scheme_is_the_clients_own() -> None:
    event = make_event("GET", "/", headers={"X-Forwarded-Proto": "http"})
    assert Request.from_event(event).base_url == "http://proxy.test/prod"


def test_an_empty_reply_has_no_body() -> None:
    assert json_response(204, None)["body"] == ""
