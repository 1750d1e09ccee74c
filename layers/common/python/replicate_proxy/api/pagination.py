"""Cursor pagination: a list returns `results` and `next`, the absolute URL of the following page.

A cursor is the position where a page ended, as base64url of a JSON array of strings. Clients treat it as
opaque: Replicate's own clients request `next` as given. `previous`, the URL of the page before, is what
Replicate's lists have; of ours only that of predictions goes back, and it is null in all others.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from replicate_proxy.errors import parameter_error
from replicate_proxy.ids import is_id

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from replicate_proxy.api.http import Request


_MAX_CURSOR_CHARS = 1024


def build_page(
    request: Request,
    results: Sequence[Any],
    next_position: Sequence[str] | None,
    previous_position: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Return the body of a list's response. Its URLs repeat the request's query, filters included."""
    return {
        "next": build_page_url(request, next_position),
        "previous": build_page_url(request, previous_position),
        "results": list(results),
    }


def build_page_url(request: Request, position: Sequence[str] | None) -> str | None:
    """Return the URL of the page after a position, with the query of the request."""
    if position is None:
        return None
    path = request.resource.format(**request.path_params)
    query = urlencode({**request.query, "cursor": encode_cursor(position)})
    return f"{request.base_url}{path}?{query}"


def encode_cursor(position: Sequence[str]) -> str:
    """Return the position as text for a URL."""
    text = json.dumps(list(position), separators=(",", ":"), ensure_ascii=False)
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode_cursor[P](cursor: str | None, build_position: Callable[..., P]) -> P | None:
    """Return the position in a cursor, None without a cursor or with an empty one.

    Some clients, such as the Ruby gem, ask for the first page with an empty one. `build_position` is called
    with the strings of the cursor; its TypeError or ValueError, like any other fault of the cursor, becomes a
    400 ApiError.
    """
    if not cursor:
        return None
    try:
        return build_position(*_decode(cursor))
    except (TypeError, ValueError, RecursionError):
        raise parameter_error("cursor", "is not a cursor of this list", error_type="invalid_cursor") from None


def decode_id_cursor(cursor: str | None) -> str | None:
    """Return the ID in a cursor of a list that is sorted by ID. Raises a 400 ApiError."""
    return decode_cursor(cursor, require_id)


def _decode(cursor: str) -> list[str]:
    if len(cursor) > _MAX_CURSOR_CHARS:
        raise ValueError("too long")
    position = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    if not isinstance(position, list) or not all(isinstance(part, str) for part in position):
        raise TypeError("not a list of strings")
    return position


def require_id(text: str) -> str:
    """Return the text if it is an ID, or raise ValueError."""
    if not is_id(text):
        raise ValueError("not an ID")
    return text
