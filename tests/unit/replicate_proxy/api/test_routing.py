"""Routing of events, also of those below a catch-all resource."""

from __future__ import annotations

import json
from typing import Any

import pytest

from replicate_proxy.api.http import Request, Response, json_response
from replicate_proxy.api.routing import Router
from replicate_proxy.observability import Metric
from tests.support.builders import make_event
from tests.support.metrics import MetricsReader

router = Router(public_base_url="https://api.example.com/")


@router.get("/v1/predictions")
@router.get("/admin/keys")
@router.get("/admin/keys/{id}")
@router.post("/admin/keys/{id}/rotate")
@router.add("OPTIONS", "/{proxy+}")
def describe(request: Request) -> Response:
    params = dict(request.path_params)
    return json_response(200, {"resource": request.resource, "params": params, "base": request.base_url})


def call(method: str, resource: str, **params: str) -> tuple[int, Any]:
    response = router.handle(make_event(method, resource, params=params))
    return response["statusCode"], json.loads(response["body"])


def build_router_with_group(added: list[str], *, failures: int = 0) -> Router:
    router = Router()
    router.get("/v1/predictions")(describe)

    def add_routes(router: Router) -> None:
        added.append("batches")
        if len(added) <= failures:
            raise OSError("not readable")
        router.get("/v1/batches/{id}", query=("cursor",))(describe)

    router.add_group("/v1/batches", add_routes)
    return router


def test_group_is_added_before_its_first_request_only() -> None:
    added: list[str] = []
    router = build_router_with_group(added)

    assert router.handle(make_event("GET", "/v1/predictions"))["statusCode"] == 200
    assert added == []
    for _ in range(2):
        event = make_event("GET", "/v1/batches/{id}", params={"id": "b"})
        assert router.handle(event)["statusCode"] == 200
    assert added == ["batches"]


def test_group_that_fails_is_added_by_the_next_request() -> None:
    router = build_router_with_group([], failures=1)
    event = make_event("GET", "/v1/batches/{id}", params={"id": "b"})

    assert [router.handle(event)["statusCode"] for _ in range(2)] == [500, 200]


def test_routes_and_query_parameters_include_those_of_groups() -> None:
    assert ("GET", "/v1/batches/{id}") in build_router_with_group([]).routes


@pytest.mark.parametrize(("method", "resource"), [("POST", "/v1/predictions"), ("GET", "/nowhere")])
def test_unregistered_route_is_not_found(method: str, resource: str) -> None:
    response = router.handle(make_event(method, resource))
    assert response["statusCode"] == 404
    assert response["headers"]["content-type"] == "application/problem+json"


def test_handler_sees_the_configured_base_url() -> None:
    assert call("GET", "/v1/predictions")[1]["base"] == "https://api.example.com"


@pytest.mark.parametrize(
    ("method", "path", "resource", "params"),
    [
        ("GET", "keys", "/admin/keys", {}),
        ("GET", "keys/k1", "/admin/keys/{id}", {"id": "k1"}),
        ("POST", "keys/k1/rotate", "/admin/keys/{id}/rotate", {"id": "k1"}),
    ],
)
def test_catch_all_event_is_matched_to_a_template(
    method: str, path: str, resource: str, params: dict[str, str]
) -> None:
    status, response = call(method, "/admin/{proxy+}", proxy=path)
    assert (status, response["resource"], response["params"]) == (200, resource, params)


@pytest.mark.parametrize(
    "path", ["", "keys/", "/keys", "keys//rotate", "keys/x/y/z", "keyz", "v1/predictions"]
)
def test_catch_all_event_without_template_is_not_found(path: str) -> None:
    assert call("GET", "/admin/{proxy+}", proxy=path)[0] == 404


def test_catch_all_event_is_matched_by_method() -> None:
    assert call("POST", "/admin/{proxy+}", proxy="keys/k1")[0] == 404


@pytest.mark.parametrize(
    "text", ["k" * 201, "k" * 1_500, "a/b", "a%2Fb", "ä", "a b", "#", "", "\u0661", "k1\n", "a?x=1", "*"]
)
def test_path_parameter_that_cannot_be_an_id_is_not_found(text: str) -> None:
    assert call("GET", "/admin/keys/{id}", id=text)[0] == 404
    assert call("POST", "/admin/{proxy+}", proxy=f"keys/{text}/rotate")[0] == 404


def test_registered_catch_all_takes_every_path() -> None:
    status, response = call("OPTIONS", "/{proxy+}", proxy="admin/keys")
    assert (status, response["resource"]) == (200, "/{proxy+}")


def test_routes_are_the_registered_ones() -> None:
    assert ("GET", "/admin/keys/{id}") in router.routes
    assert len(router.routes) == 5


def test_time_of_request_is_recorded_by_route(emitted: MetricsReader) -> None:
    call("GET", "/v1/predictions")
    call("GET", "/admin/{proxy+}", proxy="keys/k1")
    call("GET", "/admin/{proxy+}", proxy="keys/k2")
    router.handle(make_event("GET", "/nowhere"))

    assert emitted.sum_by(Metric.API_SECONDS, "route").keys() == {
        ("GET /v1/predictions",),
        ("GET /admin/keys/{id}",),
    }
    assert len(emitted.values(Metric.API_SECONDS)) == 3


strict_router = Router()


@strict_router.get("/v1/predictions", query=("cursor", "created_after"))
@strict_router.get("/v1/endpoints", query=())
def echo(request: Request) -> Response:
    return json_response(200, dict(request.query))


def test_route_accepts_its_query_parameters() -> None:
    response = strict_router.handle(make_event("GET", "/v1/predictions", query={"cursor": "x"}))

    assert (response["statusCode"], json.loads(response["body"])) == (200, {"cursor": "x"})


def test_unknown_query_parameters_are_named_in_a_400() -> None:
    query = {"status": "failed", "cursor": "x", "job": "1"}
    response = strict_router.handle(make_event("GET", "/v1/predictions", query=query))

    body = json.loads(response["body"])
    assert (response["statusCode"], body["title"]) == (400, "Invalid parameter")
    assert [field["field"] for field in body["invalid_fields"]] == ["job", "status"]
    assert "it has created_after, cursor" in body["detail"]


def test_repeated_query_parameter_is_named_in_a_400() -> None:
    event = make_event("GET", "/v1/predictions", query={"cursor": "x", "created_after": "b"})
    sent = {"cursor": ["x"], "created_after": ["a", "b"]}
    response = strict_router.handle({**event, "multiValueQueryStringParameters": sent})

    assert response["statusCode"] == 400
    (invalid,) = json.loads(response["body"])["invalid_fields"]
    assert (invalid["type"], invalid["field"]) == ("repeated_parameter", "created_after")


def test_route_without_query_parameters_says_so() -> None:
    response = strict_router.handle(make_event("GET", "/v1/endpoints", query={"page": "2"}))

    assert response["statusCode"] == 400
    assert "page: is not a parameter of this route; it has none" in json.loads(response["body"])["detail"]


def test_route_that_declares_no_query_parameters_ignores_them() -> None:
    assert router.handle(make_event("GET", "/v1/predictions", query={"x": "1"}))["statusCode"] == 200


def test_parameter_with_a_name_in_braces_stands_for_all_that_begin_like_it() -> None:
    routes = Router()
    routes.get("/v1/predictions", query=("cursor", "metadata.{name}"))(lambda _: json_response(200, {}))

    def get(name: str) -> int:
        status: int = routes.handle(make_event("GET", "/v1/predictions", query={name: "1"}))["statusCode"]
        return status

    names = ("metadata.a", "metadata.", "metadata", "meta.a")
    assert [get(name) for name in names] == [200, 200, 400, 400]
