"""The multipart form, as Replicate's clients send it and malformed."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from replicate_proxy.api.multipart_form import parse_file_form
from replicate_proxy.errors import ApiError


def encode_form(files: Any, data: Any = None) -> tuple[str, bytes]:
    """Return content type and body, as requests encodes them."""
    prepared = requests.Request("POST", "https://x", files=files, data=data).prepare()
    body = prepared.body
    assert isinstance(body, bytes)
    return str(prepared.headers["Content-Type"]), body


def reject(content_type: str, body: bytes) -> ApiError:
    with pytest.raises(ApiError) as caught:
        parse_file_form(content_type, body)
    return caught.value


def test_form_of_the_python_client_is_parsed() -> None:
    form = parse_file_form(
        *encode_form({"content": ("cat.png", b"\x00\xff", "image/png")}, {"metadata": '{"a": 1}'})
    )
    assert (form.content, form.name, form.content_type, form.metadata) == (
        b"\x00\xff",
        "cat.png",
        "image/png",
        {"a": 1},
    )


def test_form_of_the_javascript_client_with_metadata_as_a_file_is_parsed() -> None:
    parts = {
        "content": ("blob_1", b"x", "application/octet-stream"),
        "metadata": ("blob", b'{"a": 1}', "application/json"),
    }
    assert parse_file_form(*encode_form(parts)).metadata == {"a": 1}


def test_name_and_type_in_parts_of_their_own_are_parsed() -> None:
    form = parse_file_form(
        *encode_form({"content": ("x", b"x")}, {"filename": "a.zip", "type": "application/zip"})
    )
    assert (form.name, form.content_type) == ("a.zip", "application/zip")


def test_missing_name_type_and_metadata_have_defaults() -> None:
    form = parse_file_form(*encode_form({"content": (None, b"x")}))
    assert (form.name, form.content_type, form.metadata) == ("file", "application/octet-stream", {})


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\temp\\cat.png", "cat.png"),
        ("..", ".."),
        ("/", "file"),
        ("a\tb", "ab"),
    ],
)
def test_name_is_the_last_segment_of_a_path(sent: str, stored: str) -> None:
    assert parse_file_form(*encode_form({"content": ("x", b"x")}, {"filename": sent})).name == stored


@pytest.mark.parametrize(
    "kind", ["text/html\r\nX-Evil: 1", "nonsense", "a/b/c", "", "text/plain; charset=utf-8"]
)
def test_type_that_is_not_a_media_type_becomes_octet_stream(kind: str) -> None:
    form = parse_file_form(*encode_form({"content": ("x", b"x")}, {"type": kind})).content_type
    assert form == ("text/plain" if kind.startswith("text/plain") else "application/octet-stream")


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
def test_invalid_part_is_named(data: dict[str, str], field: str) -> None:
    error = reject(*encode_form({"content": ("x", b"x")}, data))
    assert (error.status, error.invalid_fields[0].field) == (422, field)


def test_missing_content_is_named() -> None:
    error = reject(*encode_form({"contents": ("x", b"x")}))
    assert (error.status, error.invalid_fields[0].field) == (422, "content")


def test_duplicate_part_is_rejected() -> None:
    error = reject(*encode_form([("content", ("x", b"x")), ("content", ("y", b"y"))]))
    assert error.status == 422


def test_too_many_parts_are_rejected() -> None:
    assert reject(*encode_form({f"part{number}": ("x", b"x") for number in range(50)})).status == 422


@pytest.mark.parametrize(
    "content_type", ["", "application/json", "multipart/form-data", "multipart/mixed; boundary=x"]
)
def test_body_that_is_not_a_form_with_boundary_is_a_415(content_type: str) -> None:
    assert reject(content_type, b"{}").status == 415


@pytest.mark.parametrize("cut", [3, 10, 60])
def test_truncated_form_is_a_400(cut: int) -> None:
    content_type, body = encode_form({"content": ("x", b"x" * 100)})
    assert reject(content_type, body[:-cut]).status == 400


@given(st.binary(max_size=300))
def test_any_body_raises_at_most_an_api_error(body: bytes) -> None:
    with suppress(ApiError):
        parse_file_form("multipart/form-data; boundary=b", b"--b\r\n" + body + b"\r\n--b--\r\n")


@given(st.binary(max_size=2000))
def test_content_is_unchanged(content: bytes) -> None:
    assert parse_file_form(*encode_form({"content": ("x", content)})).content == content
