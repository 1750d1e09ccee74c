"""What goes over the wire and what comes back, against a server on loopback."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from replicate_proxy.errors import ConfigurationError
from replicate_proxy.replicate_api.client import ReplicateClient
from replicate_proxy.replicate_api.connection import open_session
from replicate_proxy.replicate_api.errors import (
    NotAcceptedError,
    RejectedError,
    ThrottledError,
    TokenRejectedError,
    UnexpectedResponseError,
    UpstreamUnavailableError,
)
from replicate_proxy.replicate_api.models import CreateTarget, UpstreamStatus
from replicate_proxy.replicate_api.retry import Budget
from tests.support.scripted_server import PREDICTION, ScriptedServer, respond_with

Serve = Callable[..., ScriptedServer]
ClientFor = Callable[[str], ReplicateClient]

UNAUTHENTICATED = {
    "title": "Unauthenticated",
    "detail": "You did not pass a valid authentication token",
    "status": 401,
}


def head_and_body(request: bytes) -> tuple[str, dict[str, str], bytes]:
    head, _, body = request.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return first, {line.split(": ", 1)[0].lower(): line.split(": ", 1)[1] for line in lines}, body


class TestCreate:
    def test_what_is_sent(self, serve: Serve, client_for: ClientFor) -> None:
        upstream = serve(respond_with(201, PREDICTION))
        body = {
            "version": "abc",
            "input": {"text": "Zoë"},
            "webhook": "https://proxy.example/webhooks/replicate",
        }

        prediction = client_for(upstream.url).create(
            CreateTarget("predictions"), body, cancel_after_seconds=90
        )

        first, headers, sent = head_and_body(upstream.requests[0])
        assert prediction.status is UpstreamStatus.STARTING
        assert first == "POST /v1/predictions HTTP/1.1"
        assert json.loads(sent) == body
        assert headers["authorization"] == "Bearer r8_test"
        assert headers["user-agent"] == "replicate-proxy/test"
        assert headers["content-type"] == "application/json"
        assert headers["cancel-after"] == "90s"
        assert headers["connection"] == "close"
        assert "prefer" not in headers

    def test_cancel_after_below_replicates_minimum_is_raised_to_it(
        self, serve: Serve, client_for: ClientFor
    ) -> None:
        upstream = serve(respond_with(201, PREDICTION))
        client_for(upstream.url).create(CreateTarget("predictions"), {}, cancel_after_seconds=1)
        assert head_and_body(upstream.requests[0])[1]["cancel-after"] == "5s"

    @pytest.mark.parametrize(
        "target", [CreateTarget("model", "meta", "llama"), CreateTarget("deployment", "a", "b")]
    )
    def test_other_targets(self, serve: Serve, client_for: ClientFor, target: CreateTarget) -> None:
        upstream = serve(respond_with(202, PREDICTION))
        client_for(upstream.url).create(target, {"input": {}})
        assert head_and_body(upstream.requests[0])[0] == f"POST {target.path} HTTP/1.1"

    def test_a_rejection(self, serve: Serve, client_for: ClientFor) -> None:
        body = {"title": "Billing required", "detail": "You need to set up billing", "status": 402}
        with pytest.raises(RejectedError, match="402: Billing required"):
            client_for(serve(respond_with(402, body)).url).create(CreateTarget("predictions"), {})

    def test_an_input_that_is_no_json_is_never_sent(self, serve: Serve, client_for: ClientFor) -> None:
        upstream = serve(respond_with(201, PREDICTION))
        with pytest.raises(RejectedError):
            client_for(upstream.url).create(CreateTarget("predictions"), {"input": {"scale": float("nan")}})
        assert upstream.connections == 0

    def test_no_time_left(self, serve: Serve, client_for: ClientFor) -> None:
        upstream = serve(respond_with(201, PREDICTION))
        with pytest.raises(NotAcceptedError):
            client_for(upstream.url).create(CreateTarget("predictions"), {}, budget=Budget(0))
        assert upstream.connections == 0

    def test_a_netrc_of_the_machine_does_not_replace_the_token(
        self, serve: Serve, client_for: ClientFor, tmp_path: object, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        netrc = f"{tmp_path}/netrc"
        with open(netrc, "w", encoding="utf-8") as file:  # noqa: PTH123 - requests takes the path as text
            file.write("machine 127.0.0.1 login somebody password else\n")
        monkeypatch.setenv("NETRC", netrc)
        upstream = serve(respond_with(201, PREDICTION))
        client_for(upstream.url).create(CreateTarget("predictions"), {})
        assert head_and_body(upstream.requests[0])[1]["authorization"] == "Bearer r8_test"


class TestToken:
    """Given a store whose token was rotated after we read it."""

    def build(self, url: str, *tokens: str) -> tuple[ReplicateClient, list[bool]]:
        asked: list[bool] = []

        def token(refresh: bool) -> str:
            asked.append(refresh)
            return tokens[min(sum(asked), len(tokens) - 1)]

        return ReplicateClient(open_session(), url, token), asked

    def test_a_401_reads_the_token_again_and_tries_once_more(self, serve: Serve) -> None:
        upstream = serve(respond_with(401, UNAUTHENTICATED), respond_with(201, PREDICTION))
        client, asked = self.build(upstream.url, "r8_old", "r8_new")

        assert client.create(CreateTarget("predictions"), {}).id == PREDICTION["id"]
        assert asked == [False, True]
        sent = [head_and_body(request)[1]["authorization"] for request in upstream.requests]
        assert sent == ["Bearer r8_old", "Bearer r8_new"]

    def test_the_same_token_again_is_not_tried_again(self, serve: Serve) -> None:
        upstream = serve(respond_with(401, UNAUTHENTICATED))
        client, _ = self.build(upstream.url, "r8_old")
        with pytest.raises(TokenRejectedError) as caught:
            client.get("abc")
        assert caught.value.retry_after
        assert upstream.connections == 1

    def test_a_second_401_is_final(self, serve: Serve) -> None:
        upstream = serve(respond_with(401, UNAUTHENTICATED), respond_with(401, UNAUTHENTICATED))
        client, _ = self.build(upstream.url, "r8_old", "r8_new")
        with pytest.raises(TokenRejectedError):
            client.create(CreateTarget("predictions"), {})
        assert upstream.connections == 2

    @pytest.mark.parametrize("token", ["", "r8_x\r\nX-Evil: 1", "r8 x", "r8_é"])
    def test_a_token_that_is_none_is_neither_sent_nor_quoted(self, serve: Serve, token: str) -> None:
        upstream = serve(respond_with(201, PREDICTION))
        client, _ = self.build(upstream.url, token)
        with pytest.raises(TokenRejectedError) as caught:
            client.create(CreateTarget("predictions"), {})
        assert upstream.connections == 0
        assert not token or token not in str(caught.value)


def test_get_and_cancel_quote_the_id(serve: Serve, client_for: ClientFor) -> None:
    upstream = serve(
        respond_with(200, PREDICTION, "Connection: close"), respond_with(200, PREDICTION, "Connection: close")
    )
    client = client_for(upstream.url)
    client.get("a/b?c")
    client.cancel("a/b?c")
    assert [head_and_body(request)[0] for request in upstream.requests] == [
        "GET /v1/predictions/a%2Fb%3Fc HTTP/1.1",
        "POST /v1/predictions/a%2Fb%3Fc/cancel HTTP/1.1",
    ]


def test_a_page_and_the_way_to_the_next(serve: Serve, client_for: ClientFor) -> None:
    page = {
        "previous": None,
        "next": "https://api.replicate.com/v1/predictions?cursor=cD0y%2BA%3D%3D",
        "results": [PREDICTION],
    }
    upstream = serve(respond_with(200, page))
    got = client_for(upstream.url).list(created_after=datetime(2026, 1, 31, tzinfo=UTC), cursor="x=")
    assert [prediction.id for prediction in got.results] == [PREDICTION["id"]]
    assert got.next_cursor == "cD0y+A=="
    first = head_and_body(upstream.requests[0])[0]
    assert first == "GET /v1/predictions?created_after=2026-01-31T00%3A00%3A00.000Z&cursor=x%3D HTTP/1.1"


def test_the_last_page(serve: Serve, client_for: ClientFor) -> None:
    upstream = serve(respond_with(200, {"next": None, "results": []}))
    assert client_for(upstream.url).list().next_cursor is None


@pytest.mark.parametrize("body", [b"[]", b"{}", b'{"results": [{"id": "a", "status": "pondering"}]}'])
def test_a_page_that_cannot_be_read_is_not_taken_for_an_empty_one(
    serve: Serve, client_for: ClientFor, body: bytes
) -> None:
    with pytest.raises(UnexpectedResponseError):
        client_for(serve(respond_with(200, body)).url).list()


def test_the_webhook_secret(serve: Serve, client_for: ClientFor) -> None:
    assert client_for(serve(respond_with(200, {"key": "whsec_abc"})).url).get_webhook_secret() == "whsec_abc"
    with pytest.raises(UnexpectedResponseError):
        client_for(serve(respond_with(200, {"secret": "whsec_abc"})).url).get_webhook_secret()


class TestRead:
    @pytest.mark.parametrize("status", [200, 400, 404, 422])
    def test_passes_the_reply_as_it_came(self, serve: Serve, client_for: ClientFor, status: int) -> None:
        upstream = serve(respond_with(status, b'{"a":  1}', "X-Custom: yes"))
        reply = client_for(upstream.url).read("/v1/models/a/b", {"q": "x y"})
        assert (reply.status, reply.body, reply.headers["x-custom"]) == (status, b'{"a":  1}', "yes")
        assert head_and_body(upstream.requests[0])[0] == "GET /v1/models/a/b?q=x+y HTTP/1.1"

    @pytest.mark.parametrize(
        ("status", "error"),
        [
            (401, TokenRejectedError),
            (429, ThrottledError),
            (503, UpstreamUnavailableError),
            (301, RejectedError),
        ],
    )
    def test_raises_what_is_not_the_callers(
        self, serve: Serve, client_for: ClientFor, status: int, error: type[Exception]
    ) -> None:
        with pytest.raises(error):
            client_for(serve(respond_with(status, b"{}")).url).read("/v1/account")


@pytest.mark.parametrize("url", ["", "api.replicate.com", "ftp://api.replicate.com", "https://"])
def test_a_base_url_that_is_none(url: str) -> None:
    with pytest.raises(ConfigurationError):
        ReplicateClient(open_session(), url, lambda _: "r8_test")
