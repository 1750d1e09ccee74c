"""Middleware in front of the routes: request counts, authentication, rate limit, fault injection.

It applies to Replicate's endpoints. The control API passes through it for loopback clients only.
"""

import hmac
import math
import re
import time
from collections.abc import Awaitable, Callable
from ipaddress import ip_address

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tools.simulator.faults import BrokenCall
from tools.simulator.problems import ProblemError, throttled_error, unauthenticated_error
from tools.simulator.settings import DEFAULT_ACCOUNT, AccountSettings, Settings
from tools.simulator.simulator import Simulator

_ENDPOINTS = tuple(
    (method, re.compile(path), endpoint)
    for method, path, endpoint in (
        ("POST", r"/v1/predictions|/v1/(models|deployments)/[^/]+/[^/]+/predictions", "create"),
        ("GET", r"/v1/predictions", "list"),
        ("GET", r"/v1/predictions/[^/]+", "get"),
        ("POST", r"/v1/predictions/[^/]+/cancel", "cancel"),
        ("GET", r"/v1/streams/[^/]+|/v1/files/stream-[^/]+", "stream"),
        ("*", r"/v1/files(/.*)?", "file"),
        ("*", r"/v1/models(/.*)?", "model"),
        ("*", r"/v1/.*", "other"),
        ("*", r"/(delivery|third-party)/.*", "download"),
    )
)
# These need no token; the OpenAPI document marks them with `security: []`.
_PUBLIC_PATHS = re.compile(r"/v1/search|/v1/files/[^/]+/download")

# `ratelimit-remaining` as recorded on accounts that are not throttled.
_UNTHROTTLED_REMAINING = {"create": 599, "get": 59_999}
_UNTHROTTLED_REMAINING_ELSEWHERE = 2_999


def classify_endpoint(method: str, path: str) -> str | None:
    """Return the endpoint name that faults and counts use; None for paths that are not Replicate's."""
    for endpoint_method, pattern, endpoint in _ENDPOINTS:
        if endpoint_method in ("*", method) and pattern.fullmatch(path):
            return endpoint
    return None


class CreateRateLimiter:
    """A continuously refilled token bucket for the creates of an account.

    It is unlimited while `rate_limit_per_minute` is None.
    """

    def __init__(self, get_settings: Callable[[], AccountSettings | Settings]) -> None:
        self._get_settings = get_settings
        self._tokens: float | None = None
        self._refilled_at = time.monotonic()

    def take_token(self) -> int | None:
        """Take one token. Return None if there was one, else the whole seconds until the next one."""
        settings = self._get_settings()
        tokens_per_minute = settings.rate_limit_per_minute
        if tokens_per_minute is None:
            self._tokens = None
            return None
        now = time.monotonic()
        tokens = settings.rate_limit_burst if self._tokens is None else self._tokens
        tokens = min(settings.rate_limit_burst, tokens + (now - self._refilled_at) * tokens_per_minute / 60)
        self._refilled_at = now
        if tokens < 1:
            self._tokens = tokens
            return max(1, math.ceil((1 - tokens) * 60 / tokens_per_minute))
        self._tokens = tokens - 1
        return None

    def build_headers(self, endpoint: str) -> list[tuple[bytes, bytes]]:
        """Return `ratelimit-remaining` and `ratelimit-reset` for a response."""
        remaining = _UNTHROTTLED_REMAINING.get(endpoint, _UNTHROTTLED_REMAINING_ELSEWHERE)
        if endpoint == "create" and self._tokens is not None:
            remaining = int(self._tokens)
        return [(b"ratelimit-remaining", str(remaining).encode()), (b"ratelimit-reset", b"1")]


class SimulatorMiddleware:
    """ASGI middleware around the router."""

    def __init__(self, app: ASGIApp, simulator: Simulator) -> None:
        self._app = app
        self._simulator = simulator
        self._rate_limiters: dict[str, CreateRateLimiter] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one call."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        endpoint = classify_endpoint(scope["method"], scope["path"])
        if endpoint is None:
            await self._handle_local_call(scope, receive, send)
            return
        self._simulator.stats.requests[endpoint] += 1
        account = self._find_account(scope)
        limiter = self._get_rate_limiter(account.username if account else DEFAULT_ACCOUNT)
        send = self._observe_response(endpoint, limiter, send)
        if problem := self._find_problem(endpoint, scope, account, limiter):
            await problem.build_response()(scope, receive, send)
            return
        scope["account"] = account.username if account else DEFAULT_ACCOUNT
        text = f"{scope['method']} {scope['path']}?{scope['query_string'].decode('latin-1')}"
        text += f" account={scope['account']}"
        if self._simulator.faults.inspects_text(endpoint):
            body = await Request(scope, receive).body()
            text, receive = f"{text} {body.decode(errors='replace')}", _replay_body(body, receive)
        rule = self._simulator.faults.choose(endpoint, text=text)
        if rule:
            await BrokenCall(self._app, scope, receive, send, rule).run()
        else:
            await self._app(scope, receive, send)

    async def _handle_local_call(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a call that is not Replicate's: it is neither counted nor broken."""
        if scope["path"].startswith("/_control") and not _is_loopback_client(scope):
            problem = ProblemError(403, "The control API accepts requests from this machine only")
            await problem.build_response()(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _find_problem(
        self, endpoint: str, scope: Scope, account: AccountSettings | None, limiter: CreateRateLimiter
    ) -> ProblemError | None:
        """Return the reason to reject the call, if there is one."""
        if endpoint in ("download", "stream") or _PUBLIC_PATHS.fullmatch(scope["path"]):
            return None
        if account is None:
            return unauthenticated_error()
        if endpoint == "create" and (retry_after_seconds := limiter.take_token()) is not None:
            return throttled_error(retry_after_seconds)
        return None

    def _find_account(self, scope: Scope) -> AccountSettings | None:
        """Return the account that the token of the call belongs to."""
        header = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
        scheme, _, token = header.partition(" ")
        if scheme.lower() not in ("bearer", "token"):
            return None
        for account in self._simulator.settings.list_accounts():
            if hmac.compare_digest(token.strip().encode(), account.token.encode()):
                return account
        return None

    def _get_rate_limiter(self, username: str) -> CreateRateLimiter:
        if username not in self._rate_limiters:
            self._rate_limiters[username] = CreateRateLimiter(
                lambda: self._simulator.settings.find_account(username)
            )
        return self._rate_limiters[username]

    def _observe_response(
        self, endpoint: str, limiter: CreateRateLimiter, send: Send
    ) -> Callable[[Message], Awaitable[None]]:
        """Return a `send` that counts the response and adds the rate limit headers."""

        async def send_observed(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._simulator.stats.responses[f"{endpoint} {message['status']}"] += 1
                if endpoint not in ("download", "stream"):
                    headers = limiter.build_headers(endpoint)
                    message["headers"] = [*message.get("headers", []), *headers]
            await send(message)

        return send_observed


def _replay_body(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that first returns the body, which has been read already."""
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_replayed() -> Message:
        return pending.pop() if pending else await receive()

    return receive_replayed


def _is_loopback_client(scope: Scope) -> bool:
    client = scope.get("client")
    return client is not None and ip_address(client[0]).is_loopback
