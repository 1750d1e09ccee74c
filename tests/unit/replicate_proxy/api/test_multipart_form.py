"""The multipart form, as the clients send it and as nobody should."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from replicate_proxy.api.multipart_form import parse_file_form
from replicate_proxy.errors import ApiError


def form(files: Any, data: Any = None) -> tuple[str, bytes]:
    """Content type and body, as requests encodes them."""
    prepared = requests.Request("POST", "https://x", files=files, data=data).prepare()
    body = prepared.body
    assert isinstance(body, bytes)
    return str(prepared.headers["Content-Type"]), body


def refusal(content_type: str, body: bytes) -> ApiError:
    with pytest.raises(ApiError) as refused:
        parse_file_form(content_type, body)
    return refused.value


def test_the_python_clients_form() -> None:
    found = parse_file_form(
        *form({"content": ("cat.png", b"\x00\xff", "image/png")}, {"metadata": '{"a": 1}'})
    )
    assert (found.content, found.name, found.content_type, found.metadata) == (
        b"\x00\xff",
        "cat.png",
        "image/png",
        {"a": 1},
    )


def test_the_javascript_clients_form_has_its_metadata_as_a_file() -> None:
    parts = {
        "content": ("blob_1", b"x", "application/octet-stream"),
        "metadata": ("blob", b'{"a": 1}', "application/json"),
    }
    assert parse_file_form(*form(parts)).metadata == {"a": 1}


def test_name_and_type_may_come_as_parts_of_their_own() -> None:
    found = parse_file_form(*form({"content": ("x", b"x")}, {"filename": "a.zip", "type": "application/zip"}))
    assert (found.name, found.content_type) == ("a.zip", "application/zip")


def test_what_is_not_said_has_defaults() -> None:
    found = parse_file_form(*form({"content": (None, b"x")}))
    assert (found.name, found.content_type, found.metadata) == ("file", "application/octet-stream", {})


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\temp\\cat.png", "cat.png"),
        ("..", ".."),
        ("/", "file"),
        ("a\tb", "ab"),
    ],
)
def test_a_name_is_the_last_part_of_a_path(sent: str, kept: str) -> None:
    assert parse_file_form(*form({"content": ("x", b"x")}, {"filename": sent})).name == kept


@pytest.mark.parametrize(
    "kind", ["text/html\r\nX-Evil: 1", "nonsense", "a/b/c", "", "text/plain; charset=utf-8"]
)
def test_a_type_that_cannot_stand_in_a_header_becomes_plain_bytes(kind: str) -> None:
    found = parse_file_form(*form({"content": ("x", b"x")}, {"type": kind})).content_type
    assert found == ("text/plain" if kind.startswith("text/plain") else "application/octet-stream")


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"metadata": "{"}, "metadata"),
        ({"metadata": "[]"}, "metadata"),
        ({"metadata": "[" * 20_000}, "metadata"),
        ({"metadata": '{"a": "' + "x" * 16_400 + '"}'}, "metadata"),
        ({"filename": "ä" * 128}, "filename"),
    ],
)
def test_a_wrong_part_is_named(data: dict[str, str], field: str) -> None:
    error = refusal(*form({"content": ("x", b"x")}, data))
    assert (error.status, error.invalid_fields[0].field) == (422, field)


def test_a_form_without_content_says_so() -> None:
    error = refusal(*form({"contents": ("x", b"x")}))
    assert (error.status, error.invalid_fields[0].field) == (422, "content")


def test_a_part_may_come_once() -> None:
    error = refusal(*form([("content", ("x", b"x")), ("content", ("y", b"y"))]))
    assert error.status == 422


def test_too_many_parts_are_refused() -> None:
    assert refusal(*form({f"part{number}": ("x", b"x") for number in range(50)})).status == 422


@pytest.mark.parametrize(
    "content_type", ["", "application/json", "multipart/form-data", "multipart/mixed; boundary=x"]
)
def test_anything_but_a_form_with_a_boundary_is_an_unsupported_type(content_type: str) -> None:
    assert refusal(content_type, b"{}").status == 415


@pytest.mark.parametrize("cut", [3, 10, 60])
def test_a_form_that_breaks_off_is_refused(cut: int) -> None:
    content_type, body = form({"content": ("x", b"x" * 100)})
    assert refusal(content_type, body[:-cut]).status == 400


@given(st.binary(max_size=300))
def test_no_body_does_more_than_being_refused(body: bytes) -> None:
    with suppress(ApiError):  # and nothing else
        parse_file_form("multipart/form-data; boundary=b", b"--b\r\n" + body + b"\r\n--b--\r\n")


@given(st.binary(max_size=2000))
def test_any_bytes_come_through_unchanged(content: bytes) -> None:
    assert parse_file_form(*form({"content": ("x", content)})).content == content
