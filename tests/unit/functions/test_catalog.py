"""The catalog's sample events through its handler's routes, over the real client and a server on loopback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from replicate_proxy.api.catalog import catalog_routes
from replicate_proxy.replicate_api.client import ReplicateClient
from replicate_proxy.replicate_api.connection import open_session
from replicate_proxy.replicate_api.retry import Retry, RetryingClient
from replicate_proxy.services.catalog import Catalog, CatalogSettings, ReplyCache
from tests.support.scripted_server import Script, ScriptedServer, respond_with

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from replicate_proxy.api.http import Router

EVENTS = Path(__file__).parents[3] / "events" / "catalog"


class NoLimit:
    def acquire_slot(self) -> float:
        return 0.0


def event(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((EVENTS / f"{name}.json").read_text("utf-8"))
    return loaded


@pytest.fixture
def routes_to() -> Iterator[Callable[..., tuple[Router, ScriptedServer]]]:
    started: list[ScriptedServer] = []
    session = open_session()

    def build(*scripts: Script) -> tuple[Router, ScriptedServer]:
        upstream = ScriptedServer(list(scripts))
        started.append(upstream)
        client = RetryingClient(
            ReplicateClient(session, upstream.url, lambda _: "r8_ours"),
            Retry(max_attempts=2, base_delay_seconds=0.01, budget_seconds=5),
        )
        settings = CatalogSettings(origins=(upstream.url, "https://api.replicate.com"))
        return catalog_routes(Catalog(client, NoLimit(), ReplyCache(1_000_000), settings)), upstream

    yield build
    session.close()
    for upstream in started:
        upstream.close()


@pytest.mark.parametrize("name", ["get_model", "get_version", "list_models_next_page", "search"])
def test_a_read_with_our_token_and_our_addresses(routes_to: Any, name: str) -> None:
    body = {"next": "https://api.replicate.com/v1/models?cursor=b"}
    routes, upstream = routes_to(respond_with(200, body))

    response = routes.handle(event(name))

    assert response["statusCode"] == 200
    host = "https://abc123.execute-api.eu-central-1.amazonaws.com/prod"
    assert json.loads(response["body"]) == {"next": f"{host}/v1/models?cursor=b"}
    sent = upstream.requests[0].decode()
    assert "Authorization: Bearer r8_ours" in sent
    assert "rp_sample" not in sent, "the caller's key is nobody else's business"


@pytest.mark.parametrize(("name", "status"), [("unknown_parameter", 400), ("not_a_name", 404)])
def test_what_never_goes_out(routes_to: Any, name: str, status: int) -> None:
    routes, upstream = routes_to(respond_with(200, {}))
    response = routes.handle(event(name))
    assert response["statusCode"] == status
    assert json.loads(response["body"])["status"] == status
    assert upstream.connections == 0


def test_replicates_404_is_passed_on(routes_to: Any) -> None:
    routes, _ = routes_to(
        respond_with(404, {"detail": "The requested resource could not be found.", "status": 404})
    )
    response = routes.handle(event("get_model"))
    assert response["statusCode"] == 404
    assert "could not be found" in response["body"]


def test_our_tokens_401_is_not_the_callers(routes_to: Any) -> None:
    routes, _ = routes_to(respond_with(401, {"title": "Unauthenticated", "status": 401}))
    response = routes.handle(event("get_model"))
    assert response["statusCode"] == 502


def test_a_bad_moment_is_survived_and_a_bad_day_is_told(routes_to: Any) -> None:
    routes, _ = routes_to(respond_with(503, b""), respond_with(200, {"a": 1}))
    assert routes.handle(event("get_model"))["statusCode"] == 200
    routes, _ = routes_to(respond_with(503, b""), respond_with(503, b"", "Retry-After: 9"))
    response = routes.handle(event("get_model"))
    assert response["statusCode"] == 503
    assert response["headers"]["retry-after"] == "9"


def test_a_key_without_the_scope(routes_to: Any) -> None:
    routes, upstream = routes_to(respond_with(200, {}))
    sample = event("get_model")
    sample["requestContext"]["authorizer"]["scopes"] = "files:write"
    assert routes.handle(sample)["statusCode"] == 403
    assert upstream.connections == 0


def test_anything_else_is_not_there(routes_to: Any) -> None:
    routes, upstream = routes_to(respond_with(200, {}))
    sample = event("get_model")
    assert (
        routes.handle({**sample, "resource": "/v1/deployments", "path": "/v1/deployments"})["statusCode"]
        == 404
    )
    assert routes.handle({**sample, "httpMethod": "DELETE"})["statusCode"] == 404
    assert upstream.connections == 0
