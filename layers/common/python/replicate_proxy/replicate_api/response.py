"""A response from Replicate, read within limits, and tolerant parsing of its JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from replicate_proxy.lenient_json import parse_lenient_json
from replicate_proxy.replicate_api.errors import UnexpectedResponseError, UpstreamUnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import requests
    from urllib3 import HTTPResponse

    from replicate_proxy.net.deadline import Deadline


MAX_RESPONSE_BYTES = 32 * 1024 * 1024
_CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class UpstreamResponse:
    """Status, headers (names in lower case) and decompressed body."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    def parse_problem(self) -> Mapping[str, Any]:
        """Return the body of an error as a mapping, empty if it is not a JSON object."""
        try:
            parsed = parse_json(self.body)
        except UpstreamUnavailableError:
            return {}
        return parsed if isinstance(parsed, dict) else {}


def read_response(response: requests.Response, deadline: Deadline) -> UpstreamResponse:
    """Read the body in pieces, so that a slow stream ends at the deadline.

    Raises TimeoutError when the deadline passes, UnexpectedResponseError above MAX_RESPONSE_BYTES, and the
    errors of urllib3.
    """
    raw: HTTPResponse = response.raw
    chunks: list[bytes] = []
    size_bytes = 0
    while chunk := raw.read1(_CHUNK_BYTES, decode_content=True):
        size_bytes += len(chunk)
        if size_bytes > MAX_RESPONSE_BYTES:
            raise UnexpectedResponseError(f"the response is larger than {MAX_RESPONSE_BYTES} bytes")
        if deadline.has_passed:
            raise TimeoutError("the response was not complete in time")
        chunks.append(chunk)
    headers = {name.lower(): value for name, value in response.headers.items()}
    return UpstreamResponse(response.status_code, headers, b"".join(chunks))


def parse_json(body: bytes) -> Any:
    """Parse JSON by the rules of `lenient_json`.

    Raises UpstreamUnavailableError if the body is not JSON at all: something on the way broke it.
    """
    try:
        return parse_lenient_json(body)
    except ValueError:
        raise UpstreamUnavailableError("the response is not JSON") from None
