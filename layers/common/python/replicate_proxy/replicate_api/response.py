"""One HTTP answer of Replicate, read whole within limits, and its JSON read leniently."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from replicate_proxy.replicate_api.errors import UnexpectedResponseError, UpstreamUnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import requests
    from urllib3 import HTTPResponse

    from replicate_proxy.replicate_api.retry import Budget


MAX_RESPONSE_BYTES = 32 * 1024 * 1024
_CHUNK = 64 * 1024


@dataclass(frozen=True, slots=True)
class UpstreamResponse:
    """Status, headers (names in lower case) and decoded body."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    def parse_problem(self) -> Mapping[str, Any]:
        """The body of an error as a mapping, empty where it is anything else."""
        try:
            parsed = parse_json(self.body)
        except UpstreamUnavailableError:
            return {}
        return parsed if isinstance(parsed, dict) else {}


def read_response(response: requests.Response, budget: Budget) -> UpstreamResponse:
    """Reads the body as it comes, so that a server that drips cannot outlast the budget.

    Raises TimeoutError when the budget ends, UnexpectedResponseError above the limit, and
    what urllib3 raises.
    """
    raw: HTTPResponse = response.raw
    parts: list[bytes] = []
    size = 0
    while chunk := raw.read1(_CHUNK, decode_content=True):
        size += len(chunk)
        if size > MAX_RESPONSE_BYTES:
            raise UnexpectedResponseError(f"the reply is larger than {MAX_RESPONSE_BYTES} bytes")
        if budget.remaining() <= 0:
            raise TimeoutError("the reply was still arriving when the time was up")
        parts.append(chunk)
    headers = {name.lower(): value for name, value in response.headers.items()}
    return UpstreamResponse(response.status_code, headers, b"".join(parts))


def parse_json(body: bytes) -> Any:
    """JSON with everything that recorded replies get wrong: duplicate keys (the last wins), NaN (read as
    null), broken UTF-8 and lone surrogates (replaced). Raises UpstreamUnavailableError where it is no JSON at
    all: something on the way broke it.
    """
    try:
        parsed = json.loads(body.decode("utf-8", "replace"), parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        raise UpstreamUnavailableError("the reply is not JSON") from None
    return _without_surrogates(parsed) if b"\\u" in body else parsed


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_without_surrogates(entry) for entry in value]
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(entry) for key, entry in value.items()}
    return value
