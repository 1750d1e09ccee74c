"""Pages of listed origins may call, others find no permission in any reply."""

from __future__ import annotations

from typing import Any

import pytest

from replicate_proxy.api.cors import CorsPolicy
from replicate_proxy.api.http import Request, Response, Router, json_response
from replicate_proxy.errors import ApiError

APP = "https://app.example.com"
LISTED = CorsPolicy(frozenset({APP, "https://other.example.com"}))


def call(cors: CorsPolicy | None, method: str, origin: str | None) -> Response:
    routes = Router(cors)

    @routes.add("OPTIONS", "/{proxy+}")
    @routes.get("/{proxy+}")
    def nothing(_: Request) -> Response:
        return json_response(204, None)

    @routes.post("/{proxy+}")
    def refused(_: Request) -> Response:
        raise ApiError(422, "No", "no")

    headers: dict[str, Any] = {} if origin is None else {"Origin": origin}
    return routes.handle({"httpMethod": method, "resource": "/{proxy+}", "headers": headers})


def test_a_preflight_of_a_listed_origin_says_what_it_may_send() -> None:
    headers = call(LISTED, "OPTIONS", APP)["headers"]

    assert headers["access-control-allow-origin"] == APP
    assert "PATCH" in headers["access-control-allow-methods"]
    assert "authorization" in headers["access-control-allow-headers"]
    assert "idempotency-key" in headers["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in headers


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_replies_and_refusals_can_be_read_by_a_listed_origin(method: str) -> None:
    headers = call(LISTED, method, APP)["headers"]

    assert headers["access-control-allow-origin"] == APP
    assert headers["vary"] == "origin"
    assert "retry-after" in headers["access-control-expose-headers"]


@pytest.mark.parametrize(
    "origin", ["https://evil.example", f"{APP}.evil.example", "null", "", APP.upper(), None]
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_any_other_origin_is_told_nothing(method: str, origin: str | None) -> None:
    headers = call(LISTED, method, origin)["headers"]

    assert [name for name in headers if name.startswith("access-control")] == []
    assert headers["vary"] == "origin"  # or a cache would hand a listed origin this reply


def test_a_star_stands_for_everybody() -> None:
    assert (
        call(CorsPolicy(frozenset({"*"})), "GET", "https://any.example")["headers"][
            "access-control-allow-origin"
        ]
        == "*"
    )


@pytest.mark.parametrize(("value", "allowed"), [("", False), (f"{APP} , https://b.example", True)])
def test_the_list_comes_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, value: str, *, allowed: bool
) -> None:
    monkeypatch.setenv("CORS_ALLOWED_ORIGINS", value)
    assert ("access-control-allow-origin" in call(None, "GET", APP)["headers"]) is allowed


def test_without_a_list_replies_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CORS_ALLOWED_ORIGINS", raising=False)
    headers = call(None, "GET", APP)["headers"]
    assert "vary" not in headers
