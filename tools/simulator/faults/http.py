"""How each kind of fault breaks one HTTP call."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http.client import responses

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tools.simulator.faults.rules import FaultRule, Kind
from tools.simulator.problems import ProblemError, billing_required, invalid_version, throttled

CONNECTION = "local.connection"  # ASGI extension: {"abort": reset TCP, "close": hang up}
_SLOW_CHUNKS = 20


@dataclass(slots=True)
class _Reply:
    """A whole reply, caught before it reaches the wire."""

    status: int = 200
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)

    async def catch(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], list(message["headers"])
        else:
            self.body += message.get("body", b"")

    def replace_header(self, name: bytes, value: bytes) -> None:
        self.headers = [pair for pair in self.headers if pair[0] != name] + [(name, value)]


@dataclass(frozen=True, slots=True)
class BrokenCall:
    """One call to be broken by one rule."""

    app: ASGIApp
    scope: Scope
    receive: Receive
    send: Send
    rule: FaultRule

    async def run(self) -> None:
        """Break it."""
        await _KINDS[self.rule.kind](self)

    async def reply(self) -> _Reply:
        """What the application answers when nothing breaks."""
        caught = _Reply()
        await self.app(self.scope, self.receive, caught.catch)
        return caught

    async def forward(self, reply: _Reply) -> None:
        """Send a caught reply whole."""
        await self.begin(reply)
        await self.send({"type": "http.response.body", "body": bytes(reply.body)})

    async def begin(self, reply: _Reply) -> None:
        """Send the head of a caught reply."""
        await self.send({"type": "http.response.start", "status": reply.status, "headers": reply.headers})

    async def part(self, chunk: bytes) -> None:
        """Send some of a body that goes on."""
        await self.send({"type": "http.response.body", "body": chunk, "more_body": True})

    async def abort(self) -> None:
        """Reset the connection and wait until the server has seen it go."""
        self.scope["extensions"][CONNECTION]["abort"]()
        await self._gone()

    async def close(self) -> None:
        """Send what is buffered, then hang up."""
        self.scope["extensions"][CONNECTION]["close"]()
        await self._gone()

    async def hang(self) -> None:
        """Say nothing for `seconds`, unless the client gives up first; then reset."""
        try:
            await asyncio.wait_for(self._gone(), self.rule.seconds)
        except TimeoutError:
            await self.abort()

    async def _gone(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass


def status_problem(rule: FaultRule) -> ProblemError:
    """The error reply of a rule, in Replicate's words where they are known."""
    match rule.status:
        case 429:
            places = rule.retry_after_in
            problem = throttled(rule.retry_after, body="body" in places, header="header" in places)
        case 402:
            problem = billing_required()
        case 422:
            problem = invalid_version()
        case code:
            phrase = responses.get(code, "Error")
            headers = {} if rule.retry_after is None else {"Retry-After": str(rule.retry_after)}
            problem = ProblemError(code, rule.detail or phrase, phrase, headers=headers)
    if rule.detail is None:
        return problem
    return ProblemError(problem.status, rule.detail, problem.title, problem.extras, problem.headers)


async def _status(call: BrokenCall) -> None:
    await status_problem(call.rule).response()(call.scope, call.receive, call.send)


async def _status_after_accept(call: BrokenCall) -> None:
    await call.reply()
    await _status(call)


async def _reset_before_accept(call: BrokenCall) -> None:
    # Read whole, so that every client meets the reset while it waits for the reply, not while it writes.
    await Request(call.scope, call.receive).body()
    await call.abort()


async def _reset_after_accept(call: BrokenCall) -> None:
    await call.reply()
    await call.abort()


async def _timeout_before(call: BrokenCall) -> None:
    await call.hang()


async def _timeout_after(call: BrokenCall) -> None:
    await call.reply()
    await call.hang()


async def _slow_body(call: BrokenCall) -> None:
    reply = await call.reply()
    await call.begin(reply)
    step = max(1, -(-len(reply.body) // _SLOW_CHUNKS))
    for start in range(0, len(reply.body), step):
        await call.part(bytes(reply.body[start : start + step]))
        await asyncio.sleep(call.rule.seconds / _SLOW_CHUNKS)
    await call.send({"type": "http.response.body", "body": b""})


async def _broken_json(call: BrokenCall) -> None:
    reply = await call.reply()
    reply.body = reply.body[: len(reply.body) // 2]
    reply.replace_header(b"content-length", str(len(reply.body)).encode())
    await call.forward(reply)


async def _truncated(call: BrokenCall) -> None:
    reply = await call.reply()
    await call.begin(reply)
    await call.part(bytes(reply.body[: len(reply.body) // 2]))
    await call.close()


async def _redirect(call: BrokenCall) -> None:
    status = call.rule.status if call.rule.status in range(300, 400) else 302
    await call.forward(
        _Reply(status, [(b"location", call.rule.location.encode()), (b"content-length", b"0")])
    )


async def _wrong_content_type(call: BrokenCall) -> None:
    reply = await call.reply()
    reply.replace_header(b"content-type", call.rule.content_type.encode())
    await call.forward(reply)


_KINDS: dict[Kind, Callable[[BrokenCall], Awaitable[None]]] = {
    "status": _status,
    "status_after_accept": _status_after_accept,
    "reset_before_accept": _reset_before_accept,
    "reset_after_accept": _reset_after_accept,
    "timeout_before": _timeout_before,
    "timeout_after": _timeout_after,
    "slow_body": _slow_body,
    "broken_json": _broken_json,
    "truncated": _truncated,
    "redirect": _redirect,
    "wrong_content_type": _wrong_content_type,
}
