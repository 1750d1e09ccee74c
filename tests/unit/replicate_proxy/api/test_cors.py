"""Pages of allowed origins may call the API; no response permits it to others."""

from __future__ import annotations

from typing import Any

import pytest

from replicate_proxy.api.cors import CorsPolicy
from replicate_proxy.api.http import Request, Response, json_response
from replicate_proxy.api.routing import Router
from replicate_proxy.errors import ApiError

APP = "https://app.example.com"
POLICY = CorsPolicy(frozenset({APP, "https://other.example.com"}))


def call(policy: CorsPolicy | None, method: str, origin: str | None) -> Response:
    router = Router(cors=policy)

    @router.add("OPTIONS", "/{proxy+}")
    @router.get("/{proxy+}")
    def accept(_: Request) -> Response:
        return json_response(204, None)

    @router.post("/{proxy+}")
    def reject(_: Request) -> Response:
        raise ApiError(422, "No", "no")

    headers: dict[str, Any] = {} if origin is None else {"Origin": origin}
    return router.handle({"httpMethod": method, "resource": "/{proxy+}", "headers": headers})


def test_preflight_of_allowed_origin_says_what_it_may_send() -> None:
    headers = call(POLICY, "OPTIONS", APP)["headers"]

    assert headers["access-control-allow-origin"] == APP
    assert "PATCH" in headers["access-control-allow-methods"]
    assert "authorization" in headers["access-control-allow-headers"]
    assert "idempotency-key" in headers["access-control-allow-headers"]
    assert "user-agent" in headers["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in headers


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_responses_and_errors_are_readable_by_allowed_origin(method: str) -> None:
    headers = call(POLICY, method, APP)["headers"]

    assert headers["access-control-allow-origin"] == APP
    assert headers["vary"] == "origin"
    assert "retry-after" in headers["access-control-expose-headers"]


@pytest.mark.parametrize(
    "origin", ["https://evil.example", f"{APP}.evil.example", "null", "", APP.upper(), None]
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_other_origin_gets_no_cors_headers(method: str, origin: str | None) -> None:
    headers = call(POLICY, method, origin)["headers"]

    assert [name for name in headers if name.startswith("access-control")] == []
    assert headers["vary"] == "origin", "a cache would serve this response to an allowed origin"


def test_star_allows_every_origin() -> None:
    headers = call(CorsPolicy(frozenset({"*"})), "GET", "https://any.example")["headers"]
    assert headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize(("value", "is_allowed"), [("", False), (f"{APP} , https://b.example", True)])
def test_policy_is_read_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, value: str, *, is_allowed: bool
) -> None:
    monkeypatch.setenv("CORS_ALLOWED_ORIGINS", value)
    assert ("access-control-allow-origin" in call(None, "GET", APP)["headers"]) is is_allowed


def test_response_without_allowed_origins_has_no_vary_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CORS_ALLOWED_ORIGINS", raising=False)
    headers = call(None, "GET", APP)["headers"]
    assert "vary" not in headers
