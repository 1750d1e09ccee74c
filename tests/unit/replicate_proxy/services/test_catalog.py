"""The catalog passes listed routes through, and lets nothing else out or in."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_proxy.errors import ApiError, NotFoundError
from replicate_proxy.jobs.model import SHARED_ACCOUNT, Account
from replicate_proxy.replicate_api.errors import (
    NotAcceptedError,
    RejectedError,
    ThrottledError,
    TokenRejectedError,
    UnexpectedResponseError,
    UpstreamUnavailableError,
)
from replicate_proxy.replicate_api.response import UpstreamResponse
from replicate_proxy.services.catalog import (
    CATALOG_ROUTES,
    Catalog,
    CatalogResponse,
    CatalogRoute,
    CatalogSettings,
    ResponseCache,
)
from replicate_proxy.services.schema_refresh import SchemaRecorder
from tests.support.clock import FakeClock
from tests.support.schemas import IMAGE_DOCUMENT, IMAGE_RULES, FakeSchemas

if TYPE_CHECKING:
    from collections.abc import Mapping

BASE_URL = "https://proxy.example/prod"
JSON_HEADERS = {"content-type": "application/json; charset=utf-8"}
ROUTES = {route.resource: route for route in CATALOG_ROUTES}
MODEL = ROUTES["/v1/models/{owner}/{name}"]
MODELS = ROUTES["/v1/models"]
MODEL_PARAMS = {"owner": "replicate", "name": "hello-pipeline"}


class FakeReplicate:
    """Returns or raises `outcome` for every read, and records the calls."""

    def __init__(self, outcome: UpstreamResponse | Exception) -> None:
        self.outcome = outcome
        self.calls: list[tuple[str, dict[str, str]]] = []

    def read(self, path: str, query: Mapping[str, str] | None = None) -> UpstreamResponse:
        self.calls.append((path, dict(query or {})))
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


class FakeLimiter:
    """Makes every read wait for `delay_seconds`."""

    def __init__(self) -> None:
        self.delay_seconds = 0.0

    def acquire_slot(self) -> float:
        return self.delay_seconds


def make_response(
    body: object, status: int = 200, headers: Mapping[str, str] = JSON_HEADERS
) -> UpstreamResponse:
    return UpstreamResponse(status, headers, body if isinstance(body, bytes) else json.dumps(body).encode())


class Fixture:
    """A catalog over a fake Replicate, with a clock for its cache."""

    def __init__(self, outcome: UpstreamResponse | Exception) -> None:
        self.replicate = FakeReplicate(outcome)
        self.limiter = FakeLimiter()
        self.clock = FakeClock()
        self.catalog = Catalog(
            lambda _: self.replicate,
            lambda _: self.limiter,
            ResponseCache(64 * 1024, monotonic=self.clock.monotonic),
            CatalogSettings(replicate_origins=("http://127.0.0.1:9000", "https://api.replicate.com")),
        )

    def get(
        self,
        route: CatalogRoute = MODEL,
        path_params: Mapping[str, str] = MODEL_PARAMS,
        query: Mapping[str, str] | None = None,
    ) -> CatalogResponse:
        return self.catalog.get(route, path_params if route is MODEL else {}, query or {}, BASE_URL, "acme")


def test_get_passes_status_and_body_through() -> None:
    fixture = Fixture(make_response({"name": "hello-pipeline", "run_count": 3}))
    response = fixture.get()
    assert json.loads(response.body) == {"name": "hello-pipeline", "run_count": 3}
    assert (response.status, response.max_age_seconds) == (200, 60)
    assert fixture.replicate.calls == [("/v1/models/replicate/hello-pipeline", {})]


def test_get_replaces_replicates_api_urls_only() -> None:
    body = {
        "next": "https://api.replicate.com/v1/models?cursor=abc",
        "results": [{"default_example": {"urls": {"get": "http://127.0.0.1:9000/v1/predictions/x"}}}],
        "url": "https://replicate.com/replicate/hello-pipeline",
        "cover": "https://api.replicate.com.evil.example/v1/x",
        "text": "see https://api.replicate.com/v1/models",
    }
    replaced = json.loads(Fixture(make_response(body)).get().body)
    assert replaced["next"] == f"{BASE_URL}/v1/models?cursor=abc"
    assert replaced["results"][0]["default_example"]["urls"]["get"] == f"{BASE_URL}/v1/predictions/x"
    assert {name: replaced[name] for name in ("url", "cover", "text")} == {
        name: body[name] for name in ("url", "cover", "text")
    }


def test_get_passes_readme_through_as_text() -> None:
    readme = ROUTES["/v1/models/{owner}/{name}/readme"]
    headers = {"content-type": "text/markdown; charset=utf-8"}
    fixture = Fixture(make_response("# Grüße".encode(), headers=headers))
    response = fixture.catalog.get(readme, MODEL_PARAMS, {}, BASE_URL, "acme")
    assert (response.body, response.content_type) == ("# Grüße", "text/markdown; charset=utf-8")


class RecordedModels:
    """Records what the catalog learns about models."""

    def __init__(self) -> None:
        self.versions: dict[str, str] = {}
        self.missing: list[str] = []

    def record_version(self, version_id: str, model: str, account: Account) -> None:
        self.versions[version_id] = model

    def record_missing(self, target: str, account: Account) -> None:
        self.missing.append(target)


class TestKnownModels:
    DEPLOYMENT = ROUTES["/v1/deployments/{owner}/{name}"]
    VERSION = ROUTES["/v1/models/{owner}/{name}/versions/{version}"]

    def read(self, route: CatalogRoute, response: UpstreamResponse, **path_params: str) -> RecordedModels:
        models = RecordedModels()
        catalog = Catalog(
            lambda _: FakeReplicate(response),
            lambda _: FakeLimiter(),
            ResponseCache(64 * 1024),
            CatalogSettings(),
            models,
        )
        catalog.get(route, {**MODEL_PARAMS, **path_params}, {}, BASE_URL, "acme")
        return models

    @pytest.mark.parametrize(("route", "kind"), [(MODEL, "models"), (DEPLOYMENT, "deployments")])
    def test_missing_target_is_recorded(self, route: CatalogRoute, kind: str) -> None:
        models = self.read(route, make_response({"detail": "not found"}, status=404))
        assert models.missing == [f"{kind}/replicate/hello-pipeline"]

    def test_model_of_version_is_recorded(self) -> None:
        models = self.read(self.VERSION, make_response({"id": "v1"}), version="v1")
        assert models.versions == {"v1": "replicate/hello-pipeline"}

    @pytest.mark.parametrize("status", [200, 400, 403])
    def test_other_responses_record_nothing(self, status: int) -> None:
        models = self.read(MODEL, make_response({}, status=status))
        assert (models.missing, models.versions) == ([], {})


class TestCache:
    def test_fresh_response_is_served_without_a_read(self) -> None:
        fixture = Fixture(make_response({"a": 1}))
        fixture.get()
        fixture.clock.advance(59)
        assert fixture.get().max_age_seconds <= 1
        assert len(fixture.replicate.calls) == 1
        fixture.clock.advance(2)
        fixture.get()
        assert len(fixture.replicate.calls) == 2

    def test_route_with_its_own_cache_time_is_cached_longer(self) -> None:
        fixture = Fixture(make_response([]))
        fixture.get(ROUTES["/v1/hardware"])
        fixture.clock.advance(3000)
        fixture.get(ROUTES["/v1/hardware"])
        assert len(fixture.replicate.calls) == 1

    def test_order_of_query_parameters_does_not_matter(self) -> None:
        fixture = Fixture(make_response({}))
        fixture.get(MODELS, query={"sort_by": "created_at", "cursor": "x"})
        fixture.get(MODELS, query={"cursor": "x", "sort_by": "created_at"})
        fixture.get(MODELS, query={"cursor": "y"})
        assert len(fixture.replicate.calls) == 2

    def test_one_response_serves_every_base_url(self) -> None:
        fixture = Fixture(make_response({"next": "https://api.replicate.com/v1/models?cursor=a"}))
        for base_url in (BASE_URL, "https://other.example"):
            body = json.loads(fixture.catalog.get(MODELS, {}, {}, base_url, "acme").body)
            assert body["next"].startswith(f"{base_url}/v1/")
        assert len(fixture.replicate.calls) == 1

    def test_errors_are_not_cached(self) -> None:
        fixture = Fixture(make_response({"detail": "Not found", "status": 404}, status=404))
        assert [fixture.get().status for _ in range(2)] == [404, 404]
        assert len(fixture.replicate.calls) == 2

    def test_least_recently_used_responses_are_evicted(self) -> None:
        fixture = Fixture(make_response({"a": "x" * 10_000}))
        for cursor in range(20):
            fixture.get(MODELS, query={"cursor": str(cursor)})
        fixture.get(MODELS, query={"cursor": "19"})
        assert len(fixture.replicate.calls) == 20
        fixture.get(MODELS, query={"cursor": "0"})
        assert len(fixture.replicate.calls) == 21

    def test_huge_response_does_not_evict_others(self) -> None:
        fixture = Fixture(make_response({"a": 1}))
        fixture.get()
        fixture.replicate.outcome = make_response({"a": "x" * 30_000})
        fixture.get(MODELS)
        fixture.get()
        assert len(fixture.replicate.calls) == 2

    @pytest.mark.parametrize(
        "error", [UpstreamUnavailableError("503"), NotAcceptedError("down"), TokenRejectedError("401")]
    )
    def test_stale_response_is_served_when_replicate_is_unavailable(self, error: Exception) -> None:
        fixture = Fixture(make_response({"a": 1}))
        fixture.get()
        fixture.clock.advance(3600)
        fixture.replicate.outcome = error
        response = fixture.get()
        assert (json.loads(response.body), response.max_age_seconds) == ({"a": 1}, 0)


@pytest.mark.parametrize(
    ("error", "status", "retry_after"),
    [
        (TokenRejectedError("401", retry_after=60), 502, None),
        (ThrottledError("429", retry_after=7), 429, 7),
        (UpstreamUnavailableError("503", retry_after=3), 503, 3),
        (NotAcceptedError("refused"), 503, 5),
        (RejectedError(502, "redirect", "d"), 502, None),
        (UnexpectedResponseError("too large"), 502, None),
    ],
)
def test_get_translates_failures_for_the_caller(
    error: Exception, status: int, retry_after: int | None
) -> None:
    with pytest.raises(ApiError) as caught:
        Fixture(error).get()
    assert (caught.value.status, caught.value.retry_after) == (status, retry_after)


@pytest.mark.parametrize("body", [b"<html>", b'{"a":'])
def test_get_returns_bad_gateway_for_malformed_json(body: bytes) -> None:
    with pytest.raises(ApiError) as caught:
        Fixture(make_response(body)).get()
    assert caught.value.status == 502


def test_get_does_not_pass_error_pages_through() -> None:
    with pytest.raises(ApiError) as caught:
        Fixture(make_response(b"<script>", status=403, headers={"content-type": "text/html"})).get()
    assert caught.value.status == 403


def test_get_rejects_response_too_large_for_lambda_once_its_quotes_are_escaped() -> None:
    with pytest.raises(ApiError, match="too large"):
        Fixture(make_response(json.dumps(["a"] * 900_000).encode())).get()


def test_get_rejects_response_too_large_for_lambda() -> None:
    with pytest.raises(ApiError, match="too large"):
        Fixture(make_response({"a": "x" * 6_000_000})).get()


def test_get_does_not_call_replicate_when_rate_limited() -> None:
    fixture = Fixture(make_response({}))
    fixture.limiter.delay_seconds = 2.0
    with pytest.raises(ApiError) as caught:
        fixture.get()
    assert (caught.value.status, caught.value.retry_after) == (429, 2)
    assert fixture.replicate.calls == []


class TestNoOpenRelay:
    @pytest.mark.parametrize(
        "owner",
        ["", ".", "..", "../account", "a/b", "a%2Fb", "a?x=1", "a#b", "a b", "ä", "-a", "a\n", "x" * 200],
    )
    def test_invalid_segment_is_not_found(self, owner: str) -> None:
        fixture = Fixture(make_response({}))
        with pytest.raises(NotFoundError):
            fixture.get(path_params={"owner": owner, "name": "x"})
        assert fixture.replicate.calls == []

    @given(owner=st.text(max_size=20), name=st.text(max_size=20))
    def test_segments_cannot_change_the_path(self, owner: str, name: str) -> None:
        try:
            path = MODEL.build_path({"owner": owner, "name": name})
        except NotFoundError:
            return
        assert path == f"/v1/models/{owner}/{name}"
        assert path.isascii()
        assert not set(path) & set("?#%\\ \n") - {""}
        assert ".." not in path.split("/")

    def test_unknown_parameter_is_named(self) -> None:
        fixture = Fixture(make_response({}))
        with pytest.raises(ApiError) as caught:
            fixture.get(query={"url": "https://elsewhere.example"})
        assert caught.value.status == 400
        assert [field.field for field in caught.value.invalid_fields] == ["url"]
        assert fixture.replicate.calls == []

    def test_too_long_value_is_rejected(self) -> None:
        with pytest.raises(ApiError, match="at most 1000"):
            Fixture(make_response({})).get(ROUTES["/v1/search"], query={"query": "x" * 1001})

    def test_routes_are_those_in_the_documentation(self) -> None:
        assert set(ROUTES) == {
            "/v1/models",
            "/v1/models/{owner}/{name}",
            "/v1/models/{owner}/{name}/versions",
            "/v1/models/{owner}/{name}/versions/{version}",
            "/v1/models/{owner}/{name}/examples",
            "/v1/models/{owner}/{name}/readme",
            "/v1/deployments",
            "/v1/deployments/{owner}/{name}",
            "/v1/collections",
            "/v1/collections/{slug}",
            "/v1/hardware",
            "/v1/account",
            "/v1/search",
        }


class TestSchemas:
    VERSION = ROUTES["/v1/models/{owner}/{name}/versions/{version}"]

    def read(self, route: CatalogRoute, body: object, status: int = 200) -> FakeSchemas:
        schemas = FakeSchemas()
        catalog = Catalog(
            lambda _: FakeReplicate(make_response(body, status=status)),
            lambda _: FakeLimiter(),
            ResponseCache(64 * 1024),
            CatalogSettings(),
            schemas=SchemaRecorder(schemas),
        )
        catalog.get(route, {**MODEL_PARAMS, "version": "v1"}, {}, BASE_URL, "acme")
        return schemas

    def test_schema_of_a_model_is_recorded(self) -> None:
        schemas = self.read(MODEL, {"latest_version": {"openapi_schema": IMAGE_DOCUMENT}})
        assert schemas.recorded == {"models/replicate/hello-pipeline": IMAGE_RULES}

    def test_schema_of_a_version_is_recorded(self) -> None:
        schemas = self.read(self.VERSION, {"openapi_schema": IMAGE_DOCUMENT})
        assert schemas.recorded == {"versions/v1": IMAGE_RULES}

    def test_nothing_is_recorded_from_other_responses(self) -> None:
        assert self.read(MODEL, {"detail": "not found"}, status=404).recorded == {}
        assert self.read(ROUTES["/v1/models/{owner}/{name}/readme"], {}).recorded == {}


def test_tenants_own_account_has_its_own_client_limit_and_cache() -> None:
    own = Account("acme", "own")
    shared_replicate = FakeReplicate(make_response({"detail": "not found"}, status=404))
    own_replicate = FakeReplicate(make_response({"name": "private"}))
    exhausted = FakeLimiter()
    exhausted.delay_seconds = 9
    models = RecordedModels()
    catalog = Catalog(
        lambda account: own_replicate if account == own else shared_replicate,
        lambda account: FakeLimiter() if account == own else exhausted,
        ResponseCache(64 * 1024),
        CatalogSettings(),
        models,
        find_account=lambda tenant: own if tenant == "acme" else SHARED_ACCOUNT,
    )

    assert catalog.get(MODEL, MODEL_PARAMS, {}, BASE_URL, "acme").status == 200
    with pytest.raises(ApiError) as caught:
        catalog.get(MODEL, MODEL_PARAMS, {}, BASE_URL, "globex")
    assert caught.value.status == 429
    exhausted.delay_seconds = 0
    assert catalog.get(MODEL, MODEL_PARAMS, {}, BASE_URL, "globex").status == 404
    assert catalog.get(MODEL, MODEL_PARAMS, {}, BASE_URL, "acme").status == 200
    assert len(own_replicate.calls) == 1
