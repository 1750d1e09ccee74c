"""Fault injection: which calls break (`FaultRule`, `FaultRules`), and how an HTTP call breaks (`BrokenCall`).

Rules also decide about webhooks; `tools.simulator.webhooks` applies those.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http.client import responses
from random import Random
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tools.simulator.problems import (
    InvalidField,
    ProblemError,
    billing_required_error,
    invalid_input_error,
    throttled_error,
)
from tools.simulator.randomness import create_seeded_random

type FaultEndpoint = Literal[
    "create", "get", "list", "cancel", "download", "stream", "file", "model", "other", "any", "webhook"
]
type FaultKind = Literal[
    "status",
    "status_after_accept",
    "reset_before_accept",
    "reset_after_accept",
    "timeout_before_accept",
    "timeout_after_accept",
    "slow_body",
    "broken_json",
    "truncated",
    "cut",
    "redirect",
    "wrong_content_type",
    "lose",
    "duplicate",
    "reorder",
    "delay",
    "forge",
    "bad_status",
]

CONNECTION_EXTENSION = "local.connection"
"""ASGI extension of the server: `abort` resets the TCP connection, `close` flushes and closes it."""

_WEBHOOK_KINDS: frozenset[FaultKind] = frozenset(
    {"lose", "duplicate", "reorder", "delay", "forge", "bad_status"}
)
_SLOW_BODY_CHUNKS = 20
_REJECTED_INPUT = InvalidField("invalid_type", "input", "Does not match the schema")


class FaultRule(BaseModel):
    """Which calls break, how often, and how."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    endpoint: FaultEndpoint
    kind: FaultKind
    event: Literal["start", "output", "logs", "completed"] | None = None
    contains: str | None = Field(default=None, description="text in the URL or the body")
    after: int = Field(default=0, ge=0, description="number of matching calls to spare first")
    times: int | None = Field(default=None, ge=1, description="maximum number of calls to break")
    probability: float = Field(default=1.0, ge=0, le=1)
    status: int = Field(default=500, ge=300, le=599)
    retry_after: int | None = Field(default=None, ge=0, description="seconds, for a 429 or 503")
    retry_after_in: tuple[Literal["body", "header"], ...] = ("body", "header")
    detail: str | None = None
    seconds: float = Field(default=5.0, ge=0, description="duration of a timeout, slow body, delay, reorder")
    location: str = Field(default="http://127.0.0.1:9/", description="target of a redirect")
    content_type: str = Field(default="text/html", description="for wrong_content_type")
    size: int = Field(default=0, ge=0, description="bytes of the body before a cut")
    copies: int = Field(default=2, ge=2, description="total number of copies of a duplicate")

    @model_validator(mode="after")
    def _check_kind_fits_endpoint(self) -> Self:
        if (self.endpoint == "webhook") != (self.kind in _WEBHOOK_KINDS):
            raise ValueError(f"kind {self.kind!r} does not apply to endpoint {self.endpoint!r}")
        if self.event is not None and self.endpoint != "webhook":
            raise ValueError("event applies to endpoint 'webhook' only")
        return self

    def covers(self, endpoint: str) -> bool:
        """Return whether the rule applies to calls of that endpoint. `any` does not include webhooks."""
        return self.endpoint == endpoint or (self.endpoint == "any" and endpoint != "webhook")


@dataclass(slots=True)
class _InstalledRule:
    number: int
    rule: FaultRule
    rng: Random
    matched: int = 0
    fired: int = 0

    def decide(self) -> bool:
        """Count one more matching call and return whether to break it.

        The n-th decision depends on the seed and on n alone, so every call draws a random number.
        """
        self.matched += 1
        is_spared_by_chance = self.rng.random() >= self.rule.probability
        if self.matched <= self.rule.after or is_spared_by_chance:
            return False
        if self.rule.times is not None and self.fired >= self.rule.times:
            return False
        self.fired += 1
        return True


class FaultRules:
    """The installed rules, in the order of installation. The first one that fires breaks the call."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._installed: list[_InstalledRule] = []
        self._last_number = 0
        self.fired_by_kind: Counter[str] = Counter()

    def add(self, rule: FaultRule) -> int:
        """Install a rule and return its number since start or reset."""
        self._last_number += 1
        rng = create_seeded_random(self._seed, self._last_number, rule.kind)
        self._installed.append(_InstalledRule(self._last_number, rule, rng))
        return self._last_number

    def clear(self) -> None:
        """Remove the rules and keep the counts."""
        self._installed.clear()

    def reset(self) -> None:
        """Remove the rules and the counts, and restart the numbering."""
        self.clear()
        self.fired_by_kind.clear()
        self._last_number = 0

    def inspects_text(self, endpoint: str) -> bool:
        """Return whether a rule for the endpoint needs the text of the call."""
        return any(entry.rule.contains and entry.rule.covers(endpoint) for entry in self._installed)

    def choose(self, endpoint: str, *, text: str = "", event: str | None = None) -> FaultRule | None:
        """Return the rule that breaks this call, or None."""
        for entry in self._installed:
            rule = entry.rule
            if not rule.covers(endpoint) or (rule.event is not None and rule.event != event):
                continue
            if rule.contains is not None and rule.contains not in text:
                continue
            if entry.decide():
                self.fired_by_kind[rule.kind] += 1
                return rule
        return None

    def build_report(self) -> dict[str, Any]:
        """Return each rule with its counts, and the totals by kind since start or reset."""
        rules = [
            {
                "number": entry.number,
                "matched": entry.matched,
                "fired": entry.fired,
                **entry.rule.model_dump(),
            }
            for entry in self._installed
        ]
        return {"rules": rules, "fired": dict(self.fired_by_kind)}


@dataclass(slots=True)
class _CapturedResponse:
    """A complete response, captured before it is sent."""

    status: int = 200
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)

    async def capture(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], list(message["headers"])
        else:
            self.body += message.get("body", b"")

    def replace_header(self, name: bytes, value: bytes) -> None:
        self.headers = [pair for pair in self.headers if pair[0] != name] + [(name, value)]


@dataclass(frozen=True, slots=True)
class BrokenCall:
    """One HTTP call that one rule breaks."""

    app: ASGIApp
    scope: Scope
    receive: Receive
    send: Send
    rule: FaultRule

    async def run(self) -> None:
        """Handle the call as the rule says."""
        await _BREAKERS_BY_KIND[self.rule.kind](self)

    async def capture_response(self) -> _CapturedResponse:
        """Let the application handle the call and return its response without sending it."""
        captured = _CapturedResponse()
        await self.app(self.scope, self.receive, captured.capture)
        return captured

    async def send_response(self, response: _CapturedResponse) -> None:
        """Send a complete response."""
        await self.send_head(response)
        await self.send({"type": "http.response.body", "body": bytes(response.body)})

    async def send_head(self, response: _CapturedResponse) -> None:
        """Send status and headers."""
        await self.send(
            {"type": "http.response.start", "status": response.status, "headers": response.headers}
        )

    async def send_chunk(self, chunk: bytes) -> None:
        """Send a part of the body that is not the last one."""
        await self.send({"type": "http.response.body", "body": chunk, "more_body": True})

    async def abort(self) -> None:
        """Reset the connection and wait until the server has noticed."""
        self.scope["extensions"][CONNECTION_EXTENSION]["abort"]()
        await self._wait_for_disconnect()

    async def close(self) -> None:
        """Flush what is buffered and close the connection."""
        self.scope["extensions"][CONNECTION_EXTENSION]["close"]()
        await self._wait_for_disconnect()

    async def stay_silent(self) -> None:
        """Send nothing for `seconds`, unless the client gives up first; then reset the connection."""
        try:
            await asyncio.wait_for(self._wait_for_disconnect(), self.rule.seconds)
        except TimeoutError:
            await self.abort()

    async def _wait_for_disconnect(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass


def _build_status_error(rule: FaultRule) -> ProblemError:
    """Return the error response of a rule, in Replicate's words where they are known."""
    match rule.status:
        case 429:
            places = rule.retry_after_in
            problem = throttled_error(
                rule.retry_after, in_body="body" in places, in_header="header" in places
            )
        case 402:
            problem = billing_required_error()
        case 422:
            problem = invalid_input_error(_REJECTED_INPUT)
        case code:
            phrase = responses.get(code, "Error")
            headers = {} if rule.retry_after is None else {"Retry-After": str(rule.retry_after)}
            problem = ProblemError(code, rule.detail or phrase, phrase, headers=headers)
    if rule.detail is None:
        return problem
    return ProblemError(problem.status, rule.detail, problem.title, problem.extras, problem.headers)


async def _break_with_status(call: BrokenCall) -> None:
    await _build_status_error(call.rule).build_response()(call.scope, call.receive, call.send)


async def _break_with_status_after_accept(call: BrokenCall) -> None:
    await call.capture_response()
    await _break_with_status(call)


async def _break_with_reset_before_accept(call: BrokenCall) -> None:
    # Read the body first, so that every client gets the reset as it waits for the response, not as it sends.
    await Request(call.scope, call.receive).body()
    await call.abort()


async def _break_with_reset_after_accept(call: BrokenCall) -> None:
    await call.capture_response()
    await call.abort()


async def _break_with_timeout_before_accept(call: BrokenCall) -> None:
    await call.stay_silent()


async def _break_with_timeout_after_accept(call: BrokenCall) -> None:
    await call.capture_response()
    await call.stay_silent()


async def _break_with_slow_body(call: BrokenCall) -> None:
    response = await call.capture_response()
    await call.send_head(response)
    chunk_bytes = max(1, -(-len(response.body) // _SLOW_BODY_CHUNKS))
    for start in range(0, len(response.body), chunk_bytes):
        await call.send_chunk(bytes(response.body[start : start + chunk_bytes]))
        await asyncio.sleep(call.rule.seconds / _SLOW_BODY_CHUNKS)
    await call.send({"type": "http.response.body", "body": b""})


async def _break_json(call: BrokenCall) -> None:
    response = await call.capture_response()
    response.body = response.body[: len(response.body) // 2]
    response.replace_header(b"content-length", str(len(response.body)).encode())
    await call.send_response(response)


async def _truncate_body(call: BrokenCall) -> None:
    response = await call.capture_response()
    await call.send_head(response)
    await call.send_chunk(bytes(response.body[: len(response.body) // 2]))
    await call.close()


async def _cut_body(call: BrokenCall) -> None:
    """Send the body as it comes, and reset the connection after `size` bytes."""
    remaining = call.rule.size

    async def send_until_cut(message: Message) -> None:
        nonlocal remaining
        body = message.get("body", b"")
        if message["type"] != "http.response.body" or len(body) < remaining:
            remaining -= len(body)
            await call.send(message)
            return
        if remaining:
            await call.send_chunk(body[:remaining])
            await asyncio.sleep(0)
            remaining = 0
        await call.abort()

    await call.app(call.scope, call.receive, send_until_cut)


async def _redirect(call: BrokenCall) -> None:
    status = call.rule.status if call.rule.status in range(300, 400) else 302
    headers = [(b"location", call.rule.location.encode()), (b"content-length", b"0")]
    await call.send_response(_CapturedResponse(status, headers))


async def _change_content_type(call: BrokenCall) -> None:
    response = await call.capture_response()
    response.replace_header(b"content-type", call.rule.content_type.encode())
    await call.send_response(response)


_BREAKERS_BY_KIND: dict[FaultKind, Callable[[BrokenCall], Awaitable[None]]] = {
    "status": _break_with_status,
    "status_after_accept": _break_with_status_after_accept,
    "reset_before_accept": _break_with_reset_before_accept,
    "reset_after_accept": _break_with_reset_after_accept,
    "timeout_before_accept": _break_with_timeout_before_accept,
    "timeout_after_accept": _break_with_timeout_after_accept,
    "slow_body": _break_with_slow_body,
    "broken_json": _break_json,
    "truncated": _truncate_body,
    "cut": _cut_body,
    "redirect": _redirect,
    "wrong_content_type": _change_content_type,
}
