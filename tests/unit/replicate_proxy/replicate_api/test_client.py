"""Requests and responses of the client, against a server on loopback."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

import pytest

from replicate_proxy.errors import ConfigurationError, ProxyError, RetryableError
from replicate_proxy.jobs.model import Submission, SubmissionKind
from replicate_proxy.net.deadline import Deadline
from replicate_proxy.observability import Metric
from replicate_proxy.replicate_api.client import ReplicateClient
from replicate_proxy.replicate_api.connection import open_session
from replicate_proxy.replicate_api.errors import (
    NotAcceptedError,
    RejectedError,
    ThrottledError,
    TokenRejectedError,
    TokenUnavailableError,
    UnexpectedResponseError,
    UpstreamUnavailableError,
)
from replicate_proxy.replicate_api.models import UpstreamStatus
from tests.support.metrics import MetricsReader
from tests.support.scripted_server import PREDICTION, SUBMISSION, ScriptedServer, respond_with

StartServer = Callable[..., ScriptedServer]
BuildClient = Callable[[str], ReplicateClient]

UNAUTHENTICATED = {
    "title": "Unauthenticated",
    "detail": "You did not pass a valid authentication token",
    "status": 401,
}


def parse_request(request: bytes) -> tuple[str, dict[str, str], bytes]:
    head, _, body = request.partition(b"\r\n\r\n")
    request_line, *lines = head.decode().split("\r\n")
    return request_line, {line.split(": ", 1)[0].lower(): line.split(": ", 1)[1] for line in lines}, body


class TestCreate:
    def test_create_sends_body_and_headers(
        self, start_server: StartServer, build_client: BuildClient
    ) -> None:
        server = start_server(respond_with(201, PREDICTION))
        body = {
            "version": "abc",
            "input": {"text": "Zoë"},
            "webhook": "https://proxy.example/webhooks/replicate",
        }

        prediction = build_client(server.url).create(SUBMISSION, body, cancel_after_seconds=90)

        request_line, headers, sent_body = parse_request(server.requests[0])
        assert prediction.status is UpstreamStatus.STARTING
        assert request_line == "POST /v1/predictions HTTP/1.1"
        assert json.loads(sent_body) == body
        assert headers["authorization"] == "Bearer r8_test"
        assert headers["user-agent"] == "replicate-proxy/test"
        assert headers["content-type"] == "application/json"
        assert headers["cancel-after"] == "90s"
        assert headers["connection"] == "close"
        assert "prefer" not in headers

    def test_create_raises_cancel_after_to_the_minimum(
        self, start_server: StartServer, build_client: BuildClient
    ) -> None:
        server = start_server(respond_with(201, PREDICTION))
        build_client(server.url).create(SUBMISSION, {}, cancel_after_seconds=1)
        assert parse_request(server.requests[0])[1]["cancel-after"] == "5s"

    @pytest.mark.parametrize(
        ("submission", "path"),
        [
            (SUBMISSION, "/v1/predictions"),
            (
                Submission(SubmissionKind.MODEL, owner="meta", name="llama-3"),
                "/v1/models/meta/llama-3/predictions",
            ),
            (
                Submission(SubmissionKind.DEPLOYMENT, owner="acme", name="my.app"),
                "/v1/deployments/acme/my.app/predictions",
            ),
            (
                Submission(SubmissionKind.MODEL, owner="a/../b", name="c?d"),
                "/v1/models/a%2F..%2Fb/c%3Fd/predictions",
            ),
        ],
    )
    def test_create_uses_path_of_submission(
        self, start_server: StartServer, build_client: BuildClient, submission: Submission, path: str
    ) -> None:
        server = start_server(respond_with(202, PREDICTION))
        build_client(server.url).create(submission, {"input": {}})
        assert parse_request(server.requests[0])[0] == f"POST {path} HTTP/1.1"

    def test_create_raises_value_error_when_model_has_no_name(self, build_client: BuildClient) -> None:
        submission = Submission(SubmissionKind.MODEL, owner="meta")
        with pytest.raises(ValueError, match="owner and a name"):
            build_client("http://replicate.test").create(submission, {})

    def test_create_raises_rejected_error_on_4xx(
        self, start_server: StartServer, build_client: BuildClient
    ) -> None:
        body = {"title": "Billing required", "detail": "You need to set up billing", "status": 402}
        with pytest.raises(RejectedError, match="402: Billing required"):
            build_client(start_server(respond_with(402, body)).url).create(SUBMISSION, {})

    def test_create_does_not_send_input_that_is_not_json(
        self, start_server: StartServer, build_client: BuildClient
    ) -> None:
        server = start_server(respond_with(201, PREDICTION))
        with pytest.raises(RejectedError):
            build_client(server.url).create(SUBMISSION, {"input": {"scale": float("nan")}})
        assert server.connections == 0

    @pytest.mark.parametrize(
        "call",
        [
            lambda client: client.create(SUBMISSION, {}, deadline=Deadline(0)),
            lambda client: client.get("p1", deadline=Deadline(0)),
            lambda client: client.cancel("p1", deadline=Deadline(0)),
            lambda client: client.list(deadline=Deadline(0)),
            lambda client: client.read("/v1/models", deadline=Deadline(0)),
            lambda client: client.get_account_name(deadline=Deadline(0)),
            lambda client: client.get_webhook_secret(deadline=Deadline(0)),
        ],
    )
    def test_nothing_is_sent_after_the_deadline(
        self, start_server: StartServer, build_client: BuildClient, call: Callable[[ReplicateClient], object]
    ) -> None:
        server = start_server(respond_with(201, PREDICTION))
        with pytest.raises(NotAcceptedError):
            call(build_client(server.url))
        assert server.connections == 0

    def test_create_ignores_netrc_file(
        self,
        start_server: StartServer,
        build_client: BuildClient,
        tmp_path: object,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        netrc = f"{tmp_path}/netrc"
        with open(netrc, "w", encoding="utf-8") as file:  # noqa: PTH123 - requests takes the path as text
            file.write("machine 127.0.0.1 login other password other\n")
        monkeypatch.setenv("NETRC", netrc)
        server = start_server(respond_with(201, PREDICTION))
        build_client(server.url).create(SUBMISSION, {})
        assert parse_request(server.requests[0])[1]["authorization"] == "Bearer r8_test"


class TestToken:
    """The token was rotated after the client read it."""

    def build_client(self, url: str, *tokens: str) -> tuple[ReplicateClient, list[bool]]:
        """Return a client, and the `refresh` argument of each time it reads the token."""
        refreshes: list[bool] = []

        def get_token(refresh: bool) -> str:
            refreshes.append(refresh)
            return tokens[min(sum(refreshes), len(tokens) - 1)]

        return ReplicateClient(open_session(), url, get_token), refreshes

    def test_401_refreshes_token_and_repeats_call(
        self, start_server: StartServer, emitted: MetricsReader
    ) -> None:
        server = start_server(respond_with(401, UNAUTHENTICATED), respond_with(201, PREDICTION))
        client, refreshes = self.build_client(server.url, "r8_old", "r8_new")

        assert client.create(SUBMISSION, {}).id == PREDICTION["id"]
        assert refreshes == [False, True]
        tokens = [parse_request(request)[1]["authorization"] for request in server.requests]
        assert tokens == ["Bearer r8_old", "Bearer r8_new"]
        assert emitted.sum(Metric.TOKEN_REJECTED) == 0

    @pytest.mark.parametrize("status", [201, 402, 429, 500])
    def test_call_with_another_response_is_not_repeated_with_a_new_token(
        self, start_server: StartServer, status: int
    ) -> None:
        server = start_server(respond_with(status, PREDICTION), respond_with(201, PREDICTION))
        client, refreshes = self.build_client(server.url, "r8_old", "r8_new")

        with suppress(ProxyError):
            client.create(SUBMISSION, {})

        assert (len(server.requests), refreshes) == (1, [False])

    def test_401_with_unchanged_token_raises(self, start_server: StartServer, emitted: MetricsReader) -> None:
        server = start_server(respond_with(401, UNAUTHENTICATED))
        client, _ = self.build_client(server.url, "r8_old")
        with pytest.raises(TokenRejectedError) as caught:
            client.get("abc")
        assert caught.value.retry_after
        assert server.connections == 1
        assert emitted.sum(Metric.TOKEN_REJECTED) == 1

    def test_second_401_raises(self, start_server: StartServer, emitted: MetricsReader) -> None:
        server = start_server(respond_with(401, UNAUTHENTICATED), respond_with(401, UNAUTHENTICATED))
        client, _ = self.build_client(server.url, "r8_old", "r8_new")
        with pytest.raises(TokenRejectedError):
            client.create(SUBMISSION, {})
        assert server.connections == 2
        assert emitted.sum(Metric.TOKEN_REJECTED) == 1

    def test_401_of_passed_through_read_is_counted(
        self, start_server: StartServer, emitted: MetricsReader
    ) -> None:
        client, _ = self.build_client(start_server(respond_with(401, UNAUTHENTICATED)).url, "r8_old")
        with pytest.raises(TokenRejectedError):
            client.read("/v1/models")
        assert emitted.sum(Metric.TOKEN_REJECTED) == 1

    def test_unreadable_token_is_counted(self, start_server: StartServer, emitted: MetricsReader) -> None:
        def get_token(refresh: bool) -> str:
            raise ConfigurationError("cannot read secret /token: it is empty")

        client = ReplicateClient(open_session(), start_server().url, get_token)
        with pytest.raises(ConfigurationError):
            client.get("abc")
        assert emitted.sum(Metric.TOKEN_REJECTED) == 1

    @pytest.mark.parametrize("failing_read", [1, 2], ids=["before sending", "after a 401"])
    def test_create_is_not_accepted_when_store_of_token_fails(
        self, start_server: StartServer, emitted: MetricsReader, failing_read: int
    ) -> None:
        def get_token(refresh: bool) -> str:
            reads.append(refresh)
            if len(reads) == failing_read:
                raise RetryableError("cannot read secret /token: ThrottlingException")
            return "r8_old"

        reads: list[bool] = []
        server = start_server(respond_with(401, UNAUTHENTICATED))
        client = ReplicateClient(open_session(), server.url, get_token)
        with pytest.raises(TokenUnavailableError):
            client.create(SUBMISSION, {})
        assert server.connections == failing_read - 1
        assert emitted.sum(Metric.TOKEN_REJECTED) == 0

    @pytest.mark.parametrize("token", ["", "r8_x\r\nX-Evil: 1", "r8 x", "r8_é"])
    def test_invalid_token_is_neither_sent_nor_quoted(
        self, start_server: StartServer, emitted: MetricsReader, token: str
    ) -> None:
        server = start_server(respond_with(201, PREDICTION))
        client, _ = self.build_client(server.url, token)
        with pytest.raises(TokenRejectedError) as caught:
            client.create(SUBMISSION, {})
        assert server.connections == 0
        assert not token or token not in str(caught.value)
        assert emitted.sum(Metric.TOKEN_REJECTED) == 1


def test_get_and_cancel_quote_id(start_server: StartServer, build_client: BuildClient) -> None:
    server = start_server(
        respond_with(200, PREDICTION, "Connection: close"), respond_with(200, PREDICTION, "Connection: close")
    )
    client = build_client(server.url)
    client.get("a/b?c")
    client.cancel("a/b?c")
    assert [parse_request(request)[0] for request in server.requests] == [
        "GET /v1/predictions/a%2Fb%3Fc HTTP/1.1",
        "POST /v1/predictions/a%2Fb%3Fc/cancel HTTP/1.1",
    ]


def test_list_returns_page_and_next_cursor(start_server: StartServer, build_client: BuildClient) -> None:
    page = {
        "previous": None,
        "next": "https://api.replicate.com/v1/predictions?cursor=cD0y%2BA%3D%3D",
        "results": [PREDICTION],
    }
    server = start_server(respond_with(200, page))
    result = build_client(server.url).list(created_after=datetime(2026, 1, 31, tzinfo=UTC), cursor="x=")
    assert [prediction.id for prediction in result.results] == [PREDICTION["id"]]
    assert result.next_cursor == "cD0y+A=="
    request_line = parse_request(server.requests[0])[0]
    assert (
        request_line == "GET /v1/predictions?created_after=2026-01-31T00%3A00%3A00.000Z&cursor=x%3D HTTP/1.1"
    )


def test_list_returns_no_cursor_on_last_page(start_server: StartServer, build_client: BuildClient) -> None:
    server = start_server(respond_with(200, {"next": None, "results": []}))
    assert build_client(server.url).list().next_cursor is None


def test_list_leaves_out_and_counts_unreadable_entries(
    start_server: StartServer, build_client: BuildClient
) -> None:
    without_id = {name: value for name, value in PREDICTION.items() if name != "id"}
    entries = [without_id, PREDICTION, {**PREDICTION, "status": None}, "text"]
    page = build_client(start_server(respond_with(200, {"next": None, "results": entries})).url).list()
    assert [prediction.id for prediction in page.results] == [PREDICTION["id"]]
    assert page.unreadable_count == 3


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"{}",
        b'{"results": [{"status": "starting"}]}',
        b'{"results": [], "next": "https://[api]/v1/predictions?cursor=x"}',
    ],
)
def test_list_raises_when_page_is_unreadable(
    start_server: StartServer, build_client: BuildClient, body: bytes
) -> None:
    with pytest.raises(UnexpectedResponseError):
        build_client(start_server(respond_with(200, body)).url).list()


def test_get_webhook_secret_returns_key_or_raises(
    start_server: StartServer, build_client: BuildClient
) -> None:
    assert (
        build_client(start_server(respond_with(200, {"key": "whsec_abc"})).url).get_webhook_secret()
        == "whsec_abc"
    )
    with pytest.raises(UnexpectedResponseError):
        build_client(start_server(respond_with(200, {"secret": "whsec_abc"})).url).get_webhook_secret()


class TestRead:
    @pytest.mark.parametrize("status", [200, 400, 404, 422])
    def test_read_returns_2xx_and_4xx_unchanged(
        self, start_server: StartServer, build_client: BuildClient, status: int
    ) -> None:
        server = start_server(respond_with(status, b'{"a":  1}', "X-Custom: yes"))
        response = build_client(server.url).read("/v1/models/a/b", {"q": "x y"})
        assert (response.status, response.body, response.headers["x-custom"]) == (status, b'{"a":  1}', "yes")
        assert parse_request(server.requests[0])[0] == "GET /v1/models/a/b?q=x+y HTTP/1.1"

    @pytest.mark.parametrize(
        ("status", "error"),
        [
            (401, TokenRejectedError),
            (429, ThrottledError),
            (503, UpstreamUnavailableError),
            (301, RejectedError),
        ],
    )
    def test_read_raises_on_other_statuses(
        self, start_server: StartServer, build_client: BuildClient, status: int, error: type[Exception]
    ) -> None:
        with pytest.raises(error):
            build_client(start_server(respond_with(status, b"{}")).url).read("/v1/account")


@pytest.mark.parametrize("url", ["", "api.replicate.com", "ftp://api.replicate.com", "https://"])
def test_client_rejects_invalid_base_url(url: str) -> None:
    with pytest.raises(ConfigurationError):
        ReplicateClient(open_session(), url, lambda _: "r8_test")
