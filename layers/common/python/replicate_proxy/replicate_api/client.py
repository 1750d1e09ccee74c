"""Calls to Replicate's HTTP API, one attempt each. Source of paths and fields: its OpenAPI document."""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, urlsplit

import requests

from replicate_proxy import __version__
from replicate_proxy.clock import format_optional_timestamp
from replicate_proxy.errors import ConfigurationError
from replicate_proxy.replicate_api.error_mapping import (
    TOKEN_REJECTED_RETRY_SECONDS,
    Operation,
    raise_for_status,
    translate_parse_errors,
    translate_transport_errors,
)
from replicate_proxy.replicate_api.errors import (
    NotAcceptedError,
    RejectedError,
    TokenRejectedError,
    UnexpectedResponseError,
)
from replicate_proxy.replicate_api.models import CreateTarget, UpstreamPrediction, UpstreamPredictionPage
from replicate_proxy.replicate_api.response import UpstreamResponse, parse_json, read_response
from replicate_proxy.replicate_api.retry import Budget

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime


MIN_CANCEL_AFTER_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds: to connect, to the next byte of an answer, and for a whole call where no budget is given."""

    connect_seconds: float = 3.0
    read_seconds: float = 20.0
    total_seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class _Call:
    operation: Operation
    method: str
    path: str
    query: Mapping[str, str]
    body: bytes | None
    headers: Mapping[str, str]
    budget: Budget


class ReplicateClient:
    """`base_url` is the origin, without /v1. `token(refresh)` gives our API token, read anew where `refresh`
    is True.

    Every method raises the errors of `errors.py` and nothing else. A 401 makes it read the token once more
    and, where that gave another token, call once more: a refused request was certainly not accepted.
    `session` should come from `wire.open_session`; with any other, each broken create counts as unknown.
    """

    def __init__(
        self,
        session: requests.Session,
        base_url: str,
        get_token: Callable[[bool], str],
        timeouts: Timeouts | None = None,
        user_agent: str = f"replicate-proxy/{__version__}",
    ) -> None:
        if urlsplit(base_url).scheme not in {"http", "https"} or not urlsplit(base_url).hostname:
            raise ConfigurationError("the base URL of Replicate's API must be an http(s) origin")
        self._session = session
        self._base_url = base_url.rstrip("/")
        self._token = get_token
        self._timeouts = timeouts or Timeouts()
        self._user_agent = user_agent

    def create(
        self,
        target: CreateTarget,
        body: Mapping[str, Any],
        *,
        cancel_after_seconds: int | None = None,
        budget: Budget | None = None,
    ) -> UpstreamPrediction:
        """Starts a prediction, without waiting for its output. `body` is sent as it is, as JSON.

        `cancel_after_seconds` becomes `Cancel-After`, which Replicate takes from 5 s up.
        """
        headers = {}
        if cancel_after_seconds is not None:
            headers["Cancel-After"] = f"{max(cancel_after_seconds, MIN_CANCEL_AFTER_SECONDS)}s"
        call = self._call(
            "POST",
            target.path,
            operation=Operation.CREATE,
            body=_encode(body),
            headers=headers,
            budget=budget,
        )
        return self._ask(call, UpstreamPrediction.parse)

    def get(self, prediction_id: str, *, budget: Budget | None = None) -> UpstreamPrediction:
        """The prediction as it stands; RejectedError with status 404 where Replicate knows none."""
        call = self._call("GET", f"/v1/predictions/{quote(prediction_id, safe='')}", budget=budget)
        return self._ask(call, UpstreamPrediction.parse)

    def cancel(self, prediction_id: str, *, budget: Budget | None = None) -> UpstreamPrediction:
        """Cancels; harmless to repeat, and on a finished prediction."""
        call = self._call("POST", f"/v1/predictions/{quote(prediction_id, safe='')}/cancel", budget=budget)
        return self._ask(call, UpstreamPrediction.parse)

    def list(
        self,
        *,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        cursor: str | None = None,
        budget: Budget | None = None,
    ) -> UpstreamPredictionPage:
        """A page of predictions, newest first; `created_after` is inclusive, `created_before` is not."""
        query = {
            "created_after": format_optional_timestamp(created_after),
            "created_before": format_optional_timestamp(created_before),
            "cursor": cursor,
        }
        given = {name: value for name, value in query.items() if value}
        return self._ask(self._call("GET", "/v1/predictions", query=given, budget=budget), _page)

    def get_webhook_secret(self, *, budget: Budget | None = None) -> str:
        """The account's `whsec_…` secret that signs Replicate's webhooks."""
        return self._ask(self._call("GET", "/v1/webhooks/default/secret", budget=budget), _key)

    def read(
        self, path: str, query: Mapping[str, str] | None = None, *, budget: Budget | None = None
    ) -> UpstreamResponse:
        """A GET passed through: any 2xx or 4xx reply as it came; 401, 429, 5xx and broken connections raise.

        `path` starts with /v1/ and is trusted: its segments must have been validated.
        """
        call = self._call("GET", path, query=query or {}, budget=budget)
        reply = self._send_authenticated(call)
        try:
            return raise_for_status(reply, call.operation)
        except RejectedError:
            if reply.status >= HTTPStatus.BAD_REQUEST:
                return reply
            raise

    def _call(
        self,
        method: str,
        path: str,
        *,
        operation: Operation = Operation.IDEMPOTENT,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        budget: Budget | None = None,
    ) -> _Call:
        return _Call(
            operation,
            method,
            path,
            query or {},
            body,
            headers or {},
            budget or Budget(self._timeouts.total_seconds),
        )

    def _ask[T](self, call: _Call, parse: Callable[[Any], T]) -> T:
        reply = self._send_authenticated(call)
        checked = raise_for_status(reply, call.operation)
        with translate_parse_errors(call.operation):
            return parse(parse_json(checked.body))

    def _send_authenticated(self, call: _Call) -> UpstreamResponse:
        token = self._token(False)
        reply = self._send(call, token)
        if reply.status == HTTPStatus.UNAUTHORIZED:
            renewed = self._token(True)
            if renewed != token:
                reply = self._send(call, renewed)
        return reply

    def _send(self, call: _Call, token: str) -> UpstreamResponse:
        left = call.budget.remaining()
        if left <= 0:
            raise NotAcceptedError("no time was left for the call")
        timeout = (min(self._timeouts.connect_seconds, left), min(self._timeouts.read_seconds, left))
        request = requests.Request(
            call.method,
            self._base_url + call.path,
            params=dict(call.query),
            data=call.body,
            headers=self._headers(call),
            auth=_Bearer(token),
        )
        with translate_transport_errors(call.operation) as wire:
            prepared = self._session.prepare_request(request)
            settings = self._session.merge_environment_settings(prepared.url, {}, True, None, None)
            wire.handed_to_transport = True
            with self._session.send(prepared, timeout=timeout, allow_redirects=False, **settings) as response:
                return read_response(response, call.budget)

    def _headers(self, call: _Call) -> dict[str, str]:
        headers = {"Accept": "application/json", "User-Agent": self._user_agent, **call.headers}
        if call.body is not None:
            headers["Content-Type"] = "application/json"
        if call.operation is Operation.CREATE:
            headers["Connection"] = "close"
        return headers


class _Bearer(requests.auth.AuthBase):
    """Sets the token as requests' auth, which keeps a .netrc of the machine from replacing it."""

    def __init__(self, token: str) -> None:
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            # requests' own error would quote the token.
            raise TokenRejectedError(
                "our Replicate token is empty or holds characters no token has",
                retry_after=TOKEN_REJECTED_RETRY_SECONDS,
            )
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _encode(body: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(body, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise RejectedError(422, "Input validation failed", "The input cannot be written as JSON.") from error


def _page(parsed: Any) -> UpstreamPredictionPage:
    if not isinstance(parsed, dict) or not isinstance(parsed.get("results"), list):
        raise UnexpectedResponseError("a page of predictions must have results")
    following = parsed.get("next")
    cursors = parse_qs(urlsplit(following).query).get("cursor") if isinstance(following, str) else None
    return UpstreamPredictionPage(
        results=tuple(UpstreamPrediction.parse(entry) for entry in parsed["results"]),
        next_cursor=cursors[0] if cursors else None,
    )


def _key(parsed: Any) -> str:
    key = parsed.get("key") if isinstance(parsed, dict) else None
    if not isinstance(key, str) or not key:
        raise UnexpectedResponseError("the webhook secret must have a key")
    return key
