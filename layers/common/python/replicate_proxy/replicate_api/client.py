"""Calls to Replicate's HTTP API, one attempt each. Source of paths and fields: its OpenAPI document."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, urlsplit

import requests

from replicate_proxy import __version__
from replicate_proxy.clock import format_timestamp
from replicate_proxy.errors import ConfigurationError, RetryableError
from replicate_proxy.net.deadline import Deadline
from replicate_proxy.observability import Metric, count
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
    TokenUnavailableError,
    UnexpectedResponseError,
)
from replicate_proxy.replicate_api.models import UpstreamPrediction, UpstreamPredictionPage
from replicate_proxy.replicate_api.response import UpstreamResponse, parse_json, read_response

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from replicate_proxy.jobs.model import Submission


MIN_CANCEL_AFTER_SECONDS = 5
# It becomes part of names of parameters and keys.
_ACCOUNT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Timeouts: to connect, until the next byte of a response, and of a whole call without a deadline."""

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
    deadline: Deadline


class ReplicateClient:
    """The HTTP client. `base_url` is the origin, without /v1; `get_token(True)` reads our API token again.

    Every method raises the errors of `replicate_api.errors`, and ConfigurationError if there is no token.
    After a 401 the token is read again and, if it has changed, the call is repeated: a rejected request was
    definitely not accepted. `session` should come from `connection.open_session`; with any other, every
    create that breaks has an unknown outcome. `rejected_metric` counts the calls whose token is rejected, or
    cannot be read before an operator acts.
    """

    def __init__(
        self,
        session: requests.Session,
        base_url: str,
        get_token: Callable[[bool], str],
        timeouts: Timeouts | None = None,
        user_agent: str = f"replicate-proxy/{__version__}",
        *,
        rejected_metric: Metric = Metric.TOKEN_REJECTED,
    ) -> None:
        if urlsplit(base_url).scheme not in {"http", "https"} or not urlsplit(base_url).hostname:
            raise ConfigurationError("the base URL of Replicate's API must be an http(s) origin")
        self._session = session
        self._base_url = base_url.rstrip("/")
        self._get_token = get_token
        self._timeouts = timeouts or Timeouts()
        self._user_agent = user_agent
        self._rejected_metric = rejected_metric

    def create(
        self,
        submission: Submission,
        body: Mapping[str, Any],
        *,
        cancel_after_seconds: int | None = None,
        deadline: Deadline | None = None,
    ) -> UpstreamPrediction:
        """Start a prediction without waiting for its output. `body` is sent unchanged, as JSON.

        `cancel_after_seconds` becomes the header `Cancel-After`, for which Replicate's minimum is 5 s.
        """
        headers = {}
        if cancel_after_seconds is not None:
            headers["Cancel-After"] = f"{max(cancel_after_seconds, MIN_CANCEL_AFTER_SECONDS)}s"
        call = self._build_call(
            "POST",
            build_create_path(submission),
            operation=Operation.CREATE,
            body=_encode_body(body),
            headers=headers,
            deadline=deadline,
        )
        return self._request(call, UpstreamPrediction.parse)

    def get(self, prediction_id: str, *, deadline: Deadline | None = None) -> UpstreamPrediction:
        """Return a prediction. An unknown ID raises RejectedError with status 404."""
        path = f"/v1/predictions/{quote(prediction_id, safe='')}"
        return self._request(self._build_call("GET", path, deadline=deadline), UpstreamPrediction.parse)

    def cancel(self, prediction_id: str, *, deadline: Deadline | None = None) -> UpstreamPrediction:
        """Cancel a prediction. Repeating it, or canceling a finished prediction, has no effect."""
        path = f"/v1/predictions/{quote(prediction_id, safe='')}/cancel"
        return self._request(self._build_call("POST", path, deadline=deadline), UpstreamPrediction.parse)

    def list(
        self,
        *,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        cursor: str | None = None,
        deadline: Deadline | None = None,
    ) -> UpstreamPredictionPage:
        """Return a page, newest first. `created_after` is inclusive, `created_before` is not."""
        parameters = {
            "created_after": format_timestamp(created_after) if created_after else None,
            "created_before": format_timestamp(created_before) if created_before else None,
            "cursor": cursor,
        }
        query = {name: value for name, value in parameters.items() if value}
        return self._request(
            self._build_call("GET", "/v1/predictions", query=query, deadline=deadline), _parse_page
        )

    def get_account_name(self, *, deadline: Deadline | None = None) -> str:
        """Return the user or organization name of the account that the token belongs to."""
        return self._request(self._build_call("GET", "/v1/account", deadline=deadline), _parse_account_name)

    def get_webhook_secret(self, *, deadline: Deadline | None = None) -> str:
        """Return the account's `whsec_…` secret, which signs Replicate's webhooks."""
        call = self._build_call("GET", "/v1/webhooks/default/secret", deadline=deadline)
        return self._request(call, _parse_webhook_secret)

    def read(
        self, path: str, query: Mapping[str, str] | None = None, *, deadline: Deadline | None = None
    ) -> UpstreamResponse:
        """Send a GET and return its response unchanged if it is 2xx or 4xx.

        401, 429, 5xx and broken connections raise. `path` starts with /v1/ and is trusted: the caller must
        have validated its segments.
        """
        call = self._build_call("GET", path, query=query or {}, deadline=deadline)
        response = self._send_authenticated(call)
        try:
            return raise_for_status(response, call.operation)
        except RejectedError:
            if response.status >= HTTPStatus.BAD_REQUEST:
                return response
            raise

    def _build_call(
        self,
        method: str,
        path: str,
        *,
        operation: Operation = Operation.IDEMPOTENT,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        deadline: Deadline | None = None,
    ) -> _Call:
        return _Call(
            operation,
            method,
            path,
            query or {},
            body,
            headers or {},
            deadline or Deadline(self._timeouts.total_seconds),
        )

    def _request[T](self, call: _Call, parse: Callable[[Any], T]) -> T:
        response = raise_for_status(self._send_authenticated(call), call.operation)
        with translate_parse_errors(call.operation):
            return parse(parse_json(response.body))

    def _send_authenticated(self, call: _Call) -> UpstreamResponse:
        """Send the call and return its response; a 401 means that the token was rejected after a refresh."""
        try:
            response = self._send_with_token(call)
        except (ConfigurationError, TokenRejectedError):
            count(self._rejected_metric)
            raise
        if response.status == HTTPStatus.UNAUTHORIZED:
            count(self._rejected_metric)
        return response

    def _send_with_token(self, call: _Call) -> UpstreamResponse:
        token = self._read_token(refresh=False)
        response = self._send(call, token)
        if response.status == HTTPStatus.UNAUTHORIZED:
            refreshed_token = self._read_token(refresh=True)
            if refreshed_token != token:
                response = self._send(call, refreshed_token)
        return response

    def _read_token(self, *, refresh: bool) -> str:
        try:
            return self._get_token(refresh)
        except RetryableError as error:
            # Neither a request that was not sent nor one with a 401 was accepted.
            raise TokenUnavailableError(
                f"our Replicate token is not available: {error}", retry_after=error.retry_after
            ) from error

    def _send(self, call: _Call, token: str) -> UpstreamResponse:
        remaining_seconds = call.deadline.remaining_seconds
        if remaining_seconds <= 0:
            raise NotAcceptedError("no time was left for the call")
        timeout = (
            min(self._timeouts.connect_seconds, remaining_seconds),
            min(self._timeouts.read_seconds, remaining_seconds),
        )
        request = requests.Request(
            call.method,
            self._base_url + call.path,
            params=dict(call.query),
            data=call.body,
            headers=self._build_headers(call),
            auth=_BearerAuth(token),
        )
        with translate_transport_errors(call.operation) as tracker:
            prepared = self._session.prepare_request(request)
            settings = self._session.merge_environment_settings(prepared.url, {}, True, None, None)
            tracker.passed_to_transport = True
            with self._session.send(prepared, timeout=timeout, allow_redirects=False, **settings) as response:
                return read_response(response, call.deadline)

    def _build_headers(self, call: _Call) -> dict[str, str]:
        headers = {"Accept": "application/json", "User-Agent": self._user_agent, **call.headers}
        if call.body is not None:
            headers["Content-Type"] = "application/json"
        if call.operation is Operation.CREATE:
            headers["Connection"] = "close"
        return headers


class _BearerAuth(requests.auth.AuthBase):
    """The token as requests' auth, so that a .netrc file of the machine does not replace it."""

    def __init__(self, token: str) -> None:
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            # The error of requests would contain the token.
            raise TokenRejectedError(
                "our Replicate token is empty or contains invalid characters",
                retry_after=TOKEN_REJECTED_RETRY_SECONDS,
            )
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def build_create_path(submission: Submission) -> str:
    """Return the path of the create endpoint for this kind of submission."""
    kind = submission.kind.value
    if kind == "predictions":
        return "/v1/predictions"
    if not submission.owner or not submission.name:
        raise ValueError(f"a submission to /v1/{kind} must have an owner and a name")
    return f"/v1/{kind}/{quote(submission.owner, safe='')}/{quote(submission.name, safe='')}/predictions"


def _encode_body(body: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(body, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise RejectedError(422, "Input validation failed", "The input cannot be written as JSON.") from error


def _parse_page(parsed: Any) -> UpstreamPredictionPage:
    if not isinstance(parsed, dict) or not isinstance(parsed.get("results"), list):
        raise UnexpectedResponseError("a page of predictions must have results")
    return UpstreamPredictionPage.parse(parsed["results"], _parse_cursor(parsed.get("next")))


def _parse_cursor(next_url: object) -> str | None:
    if not isinstance(next_url, str):
        return None
    try:
        cursors = parse_qs(urlsplit(next_url).query).get("cursor")
    except ValueError as error:
        raise UnexpectedResponseError("the next page must have a URL") from error
    return cursors[0] if cursors else None


def _parse_account_name(parsed: Any) -> str:
    name = parsed.get("username") if isinstance(parsed, dict) else None
    if not isinstance(name, str) or not _ACCOUNT_NAME.fullmatch(name):
        raise UnexpectedResponseError("the account must have a username")
    return name.lower()


def _parse_webhook_secret(parsed: Any) -> str:
    key = parsed.get("key") if isinstance(parsed, dict) else None
    if not isinstance(key, str) or not key:
        raise UnexpectedResponseError("the webhook secret must have a key")
    return key
