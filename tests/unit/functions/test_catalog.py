"""The catalog's sample events through its routes, the real client and a server on loopback."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from replicate_proxy.api.catalog import add_catalog_routes
from replicate_proxy.api.routing import Router
from replicate_proxy.model_entries.entry import ModelEntry
from replicate_proxy.replicate_api.client import ReplicateClient
from replicate_proxy.replicate_api.connection import open_session
from replicate_proxy.replicate_api.retry import Retry, RetryingClient
from replicate_proxy.services.catalog import Catalog, CatalogSettings, ResponseCache
from tests.support.builders import make_event
from tests.support.handlers import load_event
from tests.support.model_entries import FakeEntries
from tests.support.scripted_server import Script, ScriptedServer, respond_with

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    type BuildRouter = Callable[..., tuple[Router, ScriptedServer]]


class UnlimitedReads:
    def acquire_slot(self) -> float:
        return 0.0


@pytest.fixture
def build_router() -> Iterator[BuildRouter]:
    """Build routes over a server that follows the given scripts, one per connection."""
    servers: list[ScriptedServer] = []
    session = open_session()

    def build(*scripts: Script, entries: FakeEntries | None = None) -> tuple[Router, ScriptedServer]:
        server = ScriptedServer(list(scripts))
        servers.append(server)
        client = RetryingClient(
            ReplicateClient(session, server.url, lambda _: "r8_ours"),
            Retry(max_attempts=2, base_delay_seconds=0.01, budget_seconds=5),
        )
        settings = CatalogSettings(replicate_origins=(server.url, "https://api.replicate.com"))
        router = Router()
        limiter = UnlimitedReads()
        catalog = Catalog(lambda _: client, lambda _: limiter, ResponseCache(1_000_000), settings)
        add_catalog_routes(router, catalog, entries or FakeEntries())
        return router, server

    yield build
    session.close()
    for server in servers:
        server.close()


def test_catalog_describes_the_model_that_runs_under_the_name_of_an_entry(build_router: BuildRouter) -> None:
    entry = ModelEntry(name="team/fast-image", target="black-forest-labs/flux-schnell", description="Ours")
    model = {"owner": "black-forest-labs", "name": "flux-schnell", "description": "Theirs", "run_count": 3}
    router, server = build_router(respond_with(200, model), entries=FakeEntries([entry]))

    response = router.handle(
        make_event(resource="/v1/models/{owner}/{name}", params={"owner": "team", "name": "fast-image"})
    )

    assert server.requests[0].startswith(b"GET /v1/models/black-forest-labs/flux-schnell ")
    assert json.loads(response["body"]) == {
        "owner": "team",
        "name": "fast-image",
        "description": "Ours",
        "run_count": 3,
    }


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"[]", "application/json"),
        (b"<html>maintenance</html>", "text/html"),
        (b'{"name": "\\ud800"}', "text/html"),
    ],
)
def test_catalog_returns_502_when_the_model_of_an_entry_is_no_json_object(
    build_router: BuildRouter, body: bytes, content_type: str
) -> None:
    entry = ModelEntry(name="team/fast-image", target="black-forest-labs/flux-schnell")
    script = respond_with(200, body, content_type=content_type)
    router, _ = build_router(script, entries=FakeEntries([entry]))

    response = router.handle(
        make_event(resource="/v1/models/{owner}/{name}", params={"owner": "team", "name": "fast-image"})
    )

    assert response["statusCode"] == 502
    assert json.loads(response["body"])["status"] == 502


@pytest.mark.parametrize(
    ("target", "tenants", "status"),
    [("deployments/acme/ours", (), 404), ("acme/other", ("globex",), 403)],
)
def test_catalog_does_not_describe_a_deployment_or_the_model_of_other_tenants(
    build_router: BuildRouter, target: str, tenants: tuple[str, ...], status: int
) -> None:
    entry = ModelEntry(name="team/ours", target=target, allowed_tenants=tenants)
    router, server = build_router(respond_with(200, {}), entries=FakeEntries([entry]))

    response = router.handle(
        make_event(resource="/v1/models/{owner}/{name}", params={"owner": "team", "name": "ours"})
    )

    assert response["statusCode"] == status
    assert server.connections == 0


@pytest.mark.parametrize("suffix", ["", "/versions", "/examples", "/readme"])
@pytest.mark.parametrize("target", ["", "acme/private"])
def test_catalog_does_not_describe_a_model_whose_own_entry_is_for_other_tenants(
    build_router: BuildRouter, target: str, suffix: str
) -> None:
    entry = ModelEntry(name="acme/private", target=target, allowed_tenants=("globex",))
    router, server = build_router(respond_with(200, {}), entries=FakeEntries([entry]))

    response = router.handle(
        make_event(
            resource=f"/v1/models/{{owner}}/{{name}}{suffix}", params={"owner": "acme", "name": "private"}
        )
    )

    assert response["statusCode"] == 403
    assert server.connections == 0


@pytest.mark.parametrize("name", ["get_model", "get_version", "list_models_next_page", "search"])
def test_catalog_reads_with_our_token_and_replaces_urls(build_router: BuildRouter, name: str) -> None:
    body = {"next": "https://api.replicate.com/v1/models?cursor=b"}
    router, server = build_router(respond_with(200, body))

    response = router.handle(load_event(f"catalog/{name}"))

    assert response["statusCode"] == 200
    api_url = "https://abc123.execute-api.eu-central-1.amazonaws.com/prod"
    assert json.loads(response["body"]) == {"next": f"{api_url}/v1/models?cursor=b"}
    sent = server.requests[0].decode()
    assert "Authorization: Bearer r8_ours" in sent
    assert "rp_sample" not in sent, "the caller's key must not reach Replicate"


@pytest.mark.parametrize(("name", "status"), [("unknown_parameter", 400), ("invalid_model_name", 404)])
def test_catalog_rejects_invalid_request_without_a_read(
    build_router: BuildRouter, name: str, status: int
) -> None:
    router, server = build_router(respond_with(200, {}))
    response = router.handle(load_event(f"catalog/{name}"))
    assert response["statusCode"] == status
    assert json.loads(response["body"])["status"] == status
    assert server.connections == 0


def test_catalog_passes_replicates_404_through(build_router: BuildRouter) -> None:
    router, _ = build_router(
        respond_with(404, {"detail": "The requested resource could not be found.", "status": 404})
    )
    response = router.handle(load_event("catalog/get_model"))
    assert response["statusCode"] == 404
    assert "could not be found" in response["body"]


def test_catalog_returns_502_when_our_token_is_rejected(build_router: BuildRouter) -> None:
    router, _ = build_router(respond_with(401, {"title": "Unauthenticated", "status": 401}))
    response = router.handle(load_event("catalog/get_model"))
    assert response["statusCode"] == 502


def test_catalog_retries_and_then_returns_503_with_retry_after(build_router: BuildRouter) -> None:
    router, _ = build_router(respond_with(503, b""), respond_with(200, {"a": 1}))
    assert router.handle(load_event("catalog/get_model"))["statusCode"] == 200
    router, _ = build_router(respond_with(503, b""), respond_with(503, b"", "Retry-After: 9"))
    response = router.handle(load_event("catalog/get_model"))
    assert response["statusCode"] == 503
    assert response["headers"]["retry-after"] == "9"


def test_catalog_requires_the_read_scope(build_router: BuildRouter) -> None:
    router, server = build_router(respond_with(200, {}))
    event = load_event("catalog/get_model")
    event["requestContext"]["authorizer"]["scopes"] = "files:write"
    assert router.handle(event)["statusCode"] == 403
    assert server.connections == 0


def test_catalog_does_not_find_other_routes_and_methods(build_router: BuildRouter) -> None:
    router, server = build_router(respond_with(200, {}))
    event = load_event("catalog/get_model")
    other_path: dict[str, Any] = {**event, "resource": "/v1/trainings", "path": "/v1/trainings"}
    assert router.handle(other_path)["statusCode"] == 404
    assert router.handle({**event, "httpMethod": "DELETE"})["statusCode"] == 404
    assert server.connections == 0
