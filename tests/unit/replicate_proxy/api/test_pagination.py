"""Cursors: opaque to clients, and a 400 if they cannot be decoded."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from replicate_proxy.api.http import Request
from replicate_proxy.api.pagination import build_page, decode_cursor, decode_id_cursor, encode_cursor
from replicate_proxy.errors import ApiError
from tests.support.builders import make_event

ID = "0" * 26


class Position(NamedTuple):
    target: str
    at: str = ""


def make_request(**fields: object) -> Request:
    return Request.from_event(make_event("GET", "/v1/webhooks/endpoints/{id}/deliveries", **fields))  # type: ignore[arg-type]  # passed on


@given(st.builds(Position, st.text(max_size=50), st.text(max_size=50)))
@example(Position("\U0001d7fd" * 50, "\0" * 50))
@example(Position("\U0001d7fd" * 50, "\U0001d7fd" * 50))
def test_decode_returns_encoded_position(position: Position) -> None:
    assert decode_cursor(encode_cursor(position), Position) == position


@pytest.mark.parametrize("cursor", [None, ""])
def test_decode_without_cursor_returns_none(cursor: str | None) -> None:
    assert decode_cursor(cursor, Position) is None
    assert decode_id_cursor(cursor) is None


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "ä",
        "!!!",
        "e30",
        "WzEsMiwzXQ",
        "A" * 2000,
        "../../x",
        encode_cursor(["a"] * 3),
        encode_cursor([]),
    ],
)
def test_decode_rejects_invalid_cursor(cursor: str) -> None:
    with pytest.raises(ApiError) as caught:
        decode_cursor(cursor, Position)
    assert (caught.value.status, caught.value.invalid_fields[0].field) == (400, "cursor")


@given(st.text(min_size=1, max_size=40))
def test_decode_rejects_any_text_with_a_400_only(cursor: str) -> None:
    with pytest.raises(ApiError) as caught:
        decode_id_cursor(cursor)
    assert caught.value.status == 400


def test_decode_id_cursor_requires_an_id() -> None:
    assert decode_id_cursor(encode_cursor([ID])) == ID
    with pytest.raises(ApiError):
        decode_id_cursor(encode_cursor(["no-id"]))


def test_next_is_an_absolute_url_that_keeps_the_filters() -> None:
    request = make_request(params={"id": "ep_1"}, query={"since": "2026-01-01T00:00:00Z", "cursor": "old"})
    page = build_page(request, [1, 2], Position("ep_1", "now"))
    url = urlsplit(page["next"])
    query = {name: values[0] for name, values in parse_qs(url.query).items()}
    assert (url.netloc, url.path) == ("proxy.test", "/prod/v1/webhooks/endpoints/ep_1/deliveries")
    assert query["since"] == "2026-01-01T00:00:00Z"
    assert decode_cursor(query["cursor"], Position) == Position("ep_1", "now")
    assert (page["previous"], page["results"]) == (None, [1, 2])


def test_next_is_null_on_the_last_page() -> None:
    assert build_page(make_request(), [], None) == {"next": None, "previous": None, "results": []}
