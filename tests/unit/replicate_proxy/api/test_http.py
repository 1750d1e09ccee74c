"""HTTP behind API Gateway: requests, responses and error responses."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from replicate_proxy.api.http import Request, Response, json_response
from replicate_proxy.api.routing import Router
from replicate_proxy.errors import (
    ApiError,
    ConflictError,
    InvalidField,
    NotFoundError,
    PermanentError,
    RetryableError,
)
from tests.support.builders import make_event

router = Router()


@router.post("/v1/predictions")
def echo(request: Request) -> Response:
    return json_response(200, request.json())


def post(**fields: Any) -> tuple[int, dict[str, Any]]:
    response = router.handle(make_event("POST", **fields))
    return response["statusCode"], json.loads(response["body"])


def get_response_to(error: Exception) -> Response:
    """Return the response of a handler that raises the error."""
    failing_router = Router()

    @failing_router.get("/")
    def fail(_: Request) -> Response:
        raise error

    return failing_router.handle(make_event("GET", "/"))


def test_json_body_is_parsed() -> None:
    assert post(body={"text": "ü🙂"}) == (200, {"text": "ü🙂"})


def test_base64_body_is_decoded() -> None:
    body = base64.b64encode('{"text": "ü"}'.encode()).decode()
    assert post(body=body, isBase64Encoded=True) == (200, {"text": "ü"})


@pytest.mark.parametrize(
    ("body", "encoded", "detail"),
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
def test_body_that_is_not_json_is_a_400_with_the_reason(body: str, *, encoded: bool, detail: str) -> None:
    status, response = post(body=body, isBase64Encoded=encoded)
    assert status == 400
    assert detail in response["detail"]


def test_missing_body_counts_as_empty_object() -> None:
    assert Request.from_event(make_event("POST")).json_or_empty() == {}
    assert Request.from_event(make_event("POST", body={"a": 1})).json_or_empty() == {"a": 1}


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
def test_error_response_reveals_nothing_internal(error: Exception, status: int) -> None:
    response = get_response_to(error)
    assert response["statusCode"] == status
    assert json.loads(response["body"])["status"] == status
    for word in ("secret", "Traceback", "table", "tenant", "rev"):
        assert word not in response["body"]


def test_retryable_error_says_when_to_retry() -> None:
    response = get_response_to(RetryableError("busy", retry_after=17))
    assert response["headers"]["retry-after"] == "17"
    assert json.loads(response["body"])["retry_after"] == 17


def test_api_error_is_sent_in_replicates_shape() -> None:
    error = ApiError(
        422,
        "Input validation failed",
        "- input: is required\n",
        invalid_fields=[InvalidField("required", "input", "is required")],
        headers={"x-extra": "1"},
    )
    response = get_response_to(error)
    assert response["headers"]["x-extra"] == "1"
    assert json.loads(response["body"]) == {
        "title": "Input validation failed",
        "detail": "- input: is required\n",
        "status": 422,
        "invalid_fields": [{"type": "required", "field": "input", "description": "is required"}],
    }


def test_header_names_are_lower_case() -> None:
    request = Request.from_event(make_event(headers={"X-Thing": "1"}))
    assert request.headers["x-thing"] == "1"


@pytest.mark.parametrize(
    ("sent", "headers"),
    [
        ({"X-Metadata": ["a=1", "b=2"]}, {"x-metadata": "a=1, b=2"}),
        ({"Prefer": ["wait=5"], "prefer": ["respond-async"]}, {"prefer": "wait=5, respond-async"}),
        ({"Cookie": ["a=1", "b=2"]}, {"cookie": "a=1; b=2"}),
        ({"X-Empty": [""]}, {"x-empty": ""}),
    ],
)
def test_lines_of_a_repeated_header_are_a_list(sent: dict[str, list[str]], headers: dict[str, str]) -> None:
    # As API Gateway does, with the last line.
    event = {**make_event(), "headers": {name: lines[-1] for name, lines in sent.items()}}

    assert Request.from_event({**event, "multiValueHeaders": sent}).headers == headers


def test_event_without_optional_parts_is_accepted() -> None:
    event = {"httpMethod": "GET", "resource": "/health", "path": "/health", "headers": None, "body": None}
    request = Request.from_event(event)
    assert (request.body, request.query, request.path_params, request.request_id) == (b"", {}, {}, "")
    with pytest.raises(ApiError) as caught:
        _ = request.principal
    assert caught.value.status == 401


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
def test_base_url_is_what_precedes_the_route(
    resource: str, params: dict[str, str], path: str, prefix: str
) -> None:
    event = make_event("GET", resource, params=params)
    event["requestContext"]["path"] = path
    assert Request.from_event(event).base_url == f"https://proxy.test{prefix}"


def test_base_url_has_the_scheme_of_the_request() -> None:
    event = make_event("GET", "/", headers={"X-Forwarded-Proto": "http"})
    assert Request.from_event(event).base_url == "http://proxy.test/prod"


def test_base_url_is_the_configured_one() -> None:
    request = Request.from_event(make_event("GET", "/"), public_base_url="https://api.example.com")
    assert request.base_url == "https://api.example.com"


def test_empty_response_has_no_body() -> None:
    assert json_response(204, None)["body"] == ""


@pytest.mark.parametrize("body", ["x" * 7_000_000, ["a"] * 1_200_000, "\\" * 1_600_000])
def test_response_that_lambda_would_refuse_is_a_problem(body: object) -> None:
    response = json_response(200, body)
    assert (response["statusCode"], json.loads(response["body"])["title"]) == (500, "Response too large")
