"""The ASGI layer in front of the routes: counts, authentication, rate limit, faults, rate-limit headers."""

import hmac
import re
from collections.abc import Awaitable, Callable
from ipaddress import ip_address

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tools.simulator.faults.http import BrokenCall
from tools.simulator.problems import ProblemError, throttled, unauthenticated
from tools.simulator.simulator import Simulator

_ENDPOINTS = tuple(
    (method, re.compile(path), endpoint)
    for method, path, endpoint in (
        ("POST", r"/v1/predictions|/v1/(models|deployments)/[^/]+/[^/]+/predictions", "create"),
        ("GET", r"/v1/predictions", "list"),
        ("GET", r"/v1/predictions/[^/]+", "get"),
        ("POST", r"/v1/predictions/[^/]+/cancel", "cancel"),
        ("*", r"/v1/files(/.*)?", "file"),
        ("*", r"/v1/models(/.*)?", "model"),
        ("*", r"/v1/.*", "other"),
        ("*", r"/(delivery|third-party)/.*", "download"),
    )
)
_OPEN = re.compile(r"/v1/search|/v1/files/[^/]+/download")  # no token in the OpenAPI document: `security: []`


def endpoint_of(method: str, path: str) -> str | None:
    """The endpoint name that faults and counts use; None for what is not Replicate's."""
    for wanted, pattern, endpoint in _ENDPOINTS:
        if wanted in ("*", method) and pattern.fullmatch(path):
            return endpoint
    return None


class Gate:
    """Wraps the router. The control API, health and streams pass untouched."""

    def __init__(self, app: ASGIApp, simulator: Simulator) -> None:
        self._app = app
        self._simulator = simulator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        endpoint = endpoint_of(scope["method"], path)
        if endpoint is None:
            await self._unmetered(scope, receive, send)
            return
        stats = self._simulator.stats
        stats.requests[endpoint] += 1
        send = self._observed(endpoint, send)
        if problem := self._refusal(endpoint, scope):
            await problem.response()(scope, receive, send)
            return
        text = f"{scope['method']} {path}?{scope['query_string'].decode('latin-1')}"
        if self._simulator.faults.wants_text(endpoint):
            body = await Request(scope, receive).body()
            text, receive = f"{text} {body.decode(errors='replace')}", _replayed(body, receive)
        rule = self._simulator.faults.draw(endpoint, text=text)
        if rule:
            await BrokenCall(self._app, scope, receive, send, rule).run()
        else:
            await self._app(scope, receive, send)

    async def _unmetered(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].startswith("/_control") and not _from_this_machine(scope):
            await ProblemError(403, "The control API answers this machine only").response()(
                scope, receive, send
            )
        else:
            await self._app(scope, receive, send)

    def _refusal(self, endpoint: str, scope: Scope) -> ProblemError | None:
        if endpoint == "download" or _OPEN.fullmatch(scope["path"]):
            return None
        if not self._authentic(scope):
            return unauthenticated()
        if endpoint == "create" and (wait := self._simulator.create_limit.wait()) is not None:
            return throttled(wait)
        return None

    def _authentic(self, scope: Scope) -> bool:
        given = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
        kind, _, token = given.partition(" ")
        expected = self._simulator.knobs.token.encode()
        return kind.lower() in ("bearer", "token") and hmac.compare_digest(token.strip().encode(), expected)

    def _observed(self, endpoint: str, send: Send) -> Callable[[Message], Awaitable[None]]:
        async def observed(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._simulator.stats.replies[f"{endpoint} {message['status']}"] += 1
                if endpoint != "download":
                    extra = self._simulator.create_limit.headers(endpoint)
                    message["headers"] = [*message.get("headers", []), *extra]
            await send(message)

        return observed


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A receive that gives a body already read once more, then what really comes."""
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return pending.pop() if pending else await receive()

    return replay


def _from_this_machine(scope: Scope) -> bool:
    client = scope.get("client")
    return client is not None and ip_address(client[0]).is_loopback
