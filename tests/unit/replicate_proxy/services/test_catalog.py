"""Pass-through by allow-list: nothing else goes out, nothing of ours gets out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_proxy.errors import ApiError, NotFoundError
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
    CatalogReply,
    CatalogRoute,
    CatalogSettings,
    ReplyCache,
)
from tests.support.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import Mapping

BASE = "https://proxy.example/prod"
JSON = {"content-type": "application/json; charset=utf-8"}
ENTRIES = {entry.resource: entry for entry in CATALOG_ROUTES}
MODEL = ENTRIES["/v1/models/{owner}/{name}"]
MODELS = ENTRIES["/v1/models"]
NAMES = {"owner": "replicate", "name": "hello-world"}


class FakeReplicate:
    """Answers every read with `outcome` and remembers what was asked."""

    def __init__(self, outcome: UpstreamResponse | Exception) -> None:
        self.outcome = outcome
        self.asked: list[tuple[str, dict[str, str]]] = []

    def read(self, path: str, query: Mapping[str, str] | None = None) -> UpstreamResponse:
        self.asked.append((path, dict(query or {})))
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


class FakeLimit:
    def __init__(self) -> None:
        self.wait = 0.0

    def acquire_slot(self) -> float:
        return self.wait


def reply(body: object, status: int = 200, headers: Mapping[str, str] = JSON) -> UpstreamResponse:
    return UpstreamResponse(status, headers, body if isinstance(body, bytes) else json.dumps(body).encode())


class Setting:
    """A catalog over a fake Replicate, with a clock for its cache."""

    def __init__(self, outcome: UpstreamResponse | Exception) -> None:
        self.replicate = FakeReplicate(outcome)
        self.limit = FakeLimit()
        self.clock = FakeClock()
        self.catalog = Catalog(
            self.replicate,
            self.limit,
            ReplyCache(64 * 1024, monotonic=self.clock.monotonic),
            CatalogSettings(origins=("http://127.0.0.1:9000", "https://api.replicate.com")),
        )

    def get(
        self,
        entry: CatalogRoute = MODEL,
        params: Mapping[str, str] = NAMES,
        query: Mapping[str, str] | None = None,
    ) -> CatalogReply:
        return self.catalog.get(entry, params if entry is MODEL else {}, query or {}, BASE)


def test_a_model_passes_with_its_status_and_content() -> None:
    setting = Setting(reply({"name": "hello-world", "run_count": 3}))
    got = setting.get()
    assert json.loads(got.body) == {"name": "hello-world", "run_count": 3}
    assert (got.status, got.max_age_seconds) == (200, 60)
    assert setting.replicate.asked == [("/v1/models/replicate/hello-world", {})]


def test_replicates_addresses_become_ours_wherever_they_stand() -> None:
    body = {
        "next": "https://api.replicate.com/v1/models?cursor=abc",
        "results": [{"default_example": {"urls": {"get": "http://127.0.0.1:9000/v1/predictions/x"}}}],
        "url": "https://replicate.com/replicate/hello-world",
        "cover": "https://api.replicate.com.evil.example/v1/x",
        "text": "see https://api.replicate.com/v1/models",
    }
    got = json.loads(Setting(reply(body)).get().body)
    assert got["next"] == f"{BASE}/v1/models?cursor=abc"
    assert got["results"][0]["default_example"]["urls"]["get"] == f"{BASE}/v1/predictions/x"
    assert {name: got[name] for name in ("url", "cover", "text")} == {
        name: body[name] for name in ("url", "cover", "text")
    }


def test_a_readme_passes_as_text() -> None:
    readme = ENTRIES["/v1/models/{owner}/{name}/readme"]
    setting = Setting(reply("# Grüße".encode(), headers={"content-type": "text/markdown; charset=utf-8"}))
    got = setting.catalog.get(readme, NAMES, {}, BASE)
    assert (got.body, got.content_type) == ("# Grüße", "text/markdown; charset=utf-8")


class TestCache:
    def test_asked_again_within_a_minute_replicate_is_not(self) -> None:
        setting = Setting(reply({"a": 1}))
        setting.get()
        setting.clock.advance(59)
        assert setting.get().max_age_seconds <= 1
        assert len(setting.replicate.asked) == 1
        setting.clock.advance(2)
        setting.get()
        assert len(setting.replicate.asked) == 2

    def test_what_hardly_changes_is_kept_longer(self) -> None:
        setting = Setting(reply([]))
        setting.get(ENTRIES["/v1/hardware"])
        setting.clock.advance(3000)
        setting.get(ENTRIES["/v1/hardware"])
        assert len(setting.replicate.asked) == 1

    def test_each_query_is_its_own_whatever_the_order(self) -> None:
        setting = Setting(reply({}))
        setting.get(MODELS, query={"sort_by": "created_at", "cursor": "x"})
        setting.get(MODELS, query={"cursor": "x", "sort_by": "created_at"})
        setting.get(MODELS, query={"cursor": "y"})
        assert len(setting.replicate.asked) == 2

    def test_the_same_reply_for_another_address_of_ours(self) -> None:
        setting = Setting(reply({"next": "https://api.replicate.com/v1/models?cursor=a"}))
        for base in (BASE, "https://other.example"):
            body = json.loads(setting.catalog.get(MODELS, {}, {}, base).body)
            assert body["next"].startswith(f"{base}/v1/")
        assert len(setting.replicate.asked) == 1

    def test_errors_are_not_kept(self) -> None:
        setting = Setting(reply({"detail": "Not found", "status": 404}, status=404))
        assert [setting.get().status for _ in range(2)] == [404, 404]
        assert len(setting.replicate.asked) == 2

    def test_its_size_is_bounded(self) -> None:
        setting = Setting(reply({"a": "x" * 10_000}))
        for cursor in range(20):
            setting.get(MODELS, query={"cursor": str(cursor)})
        setting.get(MODELS, query={"cursor": "19"})
        assert len(setting.replicate.asked) == 20
        setting.get(MODELS, query={"cursor": "0"})
        assert len(setting.replicate.asked) == 21

    def test_one_huge_reply_does_not_push_out_the_rest(self) -> None:
        setting = Setting(reply({"a": 1}))
        setting.get()
        setting.replicate.outcome = reply({"a": "x" * 30_000})
        setting.get(MODELS)
        setting.get()
        assert len(setting.replicate.asked) == 2

    @pytest.mark.parametrize(
        "error", [UpstreamUnavailableError("503"), NotAcceptedError("down"), TokenRejectedError("401")]
    )
    def test_an_old_reply_is_better_than_none(self, error: Exception) -> None:
        setting = Setting(reply({"a": 1}))
        setting.get()
        setting.clock.advance(3600)
        setting.replicate.outcome = error
        got = setting.get()
        assert (json.loads(got.body), got.max_age_seconds) == ({"a": 1}, 0)


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
def test_failures_in_words_for_the_caller(error: Exception, status: int, retry_after: int | None) -> None:
    with pytest.raises(ApiError) as caught:
        Setting(error).get()
    assert (caught.value.status, caught.value.retry_after) == (status, retry_after)


@pytest.mark.parametrize("body", [b"<html>", b'{"a":'])
def test_a_broken_answer_is_a_bad_gateway(body: bytes) -> None:
    with pytest.raises(ApiError) as caught:
        Setting(reply(body)).get()
    assert caught.value.status == 502


def test_an_error_page_is_not_passed_on() -> None:
    with pytest.raises(ApiError) as caught:
        Setting(reply(b"<script>", status=403, headers={"content-type": "text/html"})).get()
    assert caught.value.status == 403


def test_an_answer_that_lambda_could_not_carry() -> None:
    with pytest.raises(ApiError, match="too large"):
        Setting(reply({"a": "x" * 6_000_000})).get()


def test_a_used_up_share_of_the_rate_limit_asks_nobody() -> None:
    setting = Setting(reply({}))
    setting.limit.wait = 2.0
    with pytest.raises(ApiError) as caught:
        setting.get()
    assert (caught.value.status, caught.value.retry_after) == (429, 2)
    assert setting.replicate.asked == []


class TestNoOpenRelay:
    @pytest.mark.parametrize(
        "owner",
        ["", ".", "..", "../account", "a/b", "a%2Fb", "a?x=1", "a#b", "a b", "ä", "-a", "a\n", "x" * 200],
    )
    def test_a_segment_that_is_no_name(self, owner: str) -> None:
        setting = Setting(reply({}))
        with pytest.raises(NotFoundError):
            setting.get(params={"owner": owner, "name": "x"})
        assert setting.replicate.asked == []

    @given(owner=st.text(max_size=20), name=st.text(max_size=20))
    def test_whatever_the_segments_the_path_stays_where_it_is(self, owner: str, name: str) -> None:
        try:
            path = MODEL.build_path({"owner": owner, "name": name})
        except NotFoundError:
            return
        assert path == f"/v1/models/{owner}/{name}"
        assert path.isascii()
        assert not set(path) & set("?#%\\ \n") - {""}
        assert ".." not in path.split("/")

    def test_unknown_parameters_are_named(self) -> None:
        setting = Setting(reply({}))
        with pytest.raises(ApiError) as caught:
            setting.get(query={"url": "https://elsewhere.example"})
        assert caught.value.status == 400
        assert [field.field for field in caught.value.invalid_fields] == ["url"]
        assert setting.replicate.asked == []

    def test_overlong_values_are_refused(self) -> None:
        with pytest.raises(ApiError, match="at most 1000"):
            Setting(reply({})).get(ENTRIES["/v1/search"], query={"query": "x" * 1001})

    def test_the_list_is_what_the_documentation_says(self) -> None:
        assert set(ENTRIES) == {
            "/v1/models",
            "/v1/models/{owner}/{name}",
            "/v1/models/{owner}/{name}/versions",
            "/v1/models/{owner}/{name}/versions/{version}",
            "/v1/models/{owner}/{name}/examples",
            "/v1/models/{owner}/{name}/readme",
            "/v1/collections",
            "/v1/collections/{slug}",
            "/v1/hardware",
            "/v1/account",
            "/v1/search",
        }
