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


def test_form_of_the_second_python_client_with_an_object_as_metadata_is_parsed() -> None:
    parts = [
        ("metadata[tags][]", "a"),
        ("metadata[tags][]", "b"),
        *((f"metadata[{n}]", "x") for n in range(20)),
    ]
    form = parse_file_form(*encode_form({"content": ("cat.png", b"x", "image/png")}, parts))
    assert (form.content, form.name, form.metadata) == (b"x", "cat.png", {})


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
    "content_type",
    [
        "",
        "application/json",
        "multipart/form-data",
        "multipart/form-data; boundary=日本",
        "multipart/mixed; boundary=x",
    ],
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


CAT = "\N{CJK UNIFIED IDEOGRAPH-732B}.png"


def build_form(
    disposition: str, *, content: bytes = b"x", line_end: bytes = b"\r\n", end: bytes = b""
) -> bytes:
    lines = [b"--b", f"Content-Disposition: form-data; {disposition}".encode(), b"", content, b"--b--"]
    return line_end.join(lines) + (end or line_end)


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('name="content"; filename="cat.png"', "cat.png"),
        ('name="content"; filename="Katze \N{CAT}.png"', "Katze \N{CAT}.png"),
        ("name=content; filename=cat.png", "cat.png"),
        ("name=\"content\"; filename*=utf-8''%E7%8C%AB.png", CAT),
        ("name=content; filename*=UTF-8'en'%E7%8C%AB.png", CAT),
        ("name=content; filename*=iso-8859-1''caf%E9.png", "caf\N{LATIN SMALL LETTER E WITH ACUTE}.png"),
        ("name=content; filename*0*=utf-8''%E7%8C%AB; filename*1=.png", CAT),
        (
            "name=content; filename=\"=?utf-8?B?54yrLnBuZw==?=\"; filename*=utf-8''%E7%8C%AB.png",
            CAT,
        ),
        (
            "filename*=utf-8''%E7%8C%AB.png; filename=cat.png; name=content",
            CAT,
        ),
        ('name=content; filename="=?utf-8?B?54yrLnBuZw==?="', CAT),
        ('name=content; filename="=?utf-8?Q?=E7=8C=AB.png?="', CAT),
        ('name=content; filename="=?nonsense?B?54yrLnBuZw==?="', "=?nonsense?B?54yrLnBuZw==?="),
        ("name=content; filename*=nonsense''a%41.png", "aA.png"),
        ('name="content"; filename="a \\"b\\" \\\\ c.png"', "c.png"),
        ('name="content"; FILENAME="cat.png"', "cat.png"),
        ('name="content"; filename="a;b=c.png"', "a;b=c.png"),
        ('name="content"; filename=""', "file"),
        ('name="content"', "file"),
    ],
)
def test_file_name_is_read_in_every_notation(disposition: str, name: str) -> None:
    assert parse_file_form("multipart/form-data; boundary=b", build_form(disposition)).name == name


@pytest.mark.parametrize("content", [b"a\nb\n\nc", b"a\r\nb", b"", b"\n", b"--b"[:2]])
def test_form_with_line_feeds_only_is_read(content: bytes) -> None:
    body = build_form('name="content"; filename="a.txt"', content=content, line_end=b"\n")
    form = parse_file_form("multipart/form-data; boundary=b", body)
    assert (form.content, form.name) == (content, "a.txt")


@pytest.mark.parametrize("line_end", [b"\r\n", b"\n"])
@pytest.mark.parametrize("boundary", ["b", '"b"'])
def test_preamble_epilogue_and_padding_are_ignored(line_end: bytes, boundary: str) -> None:
    form = build_form('name="content"; filename="a.txt"', line_end=line_end, end=line_end + b"epilogue")
    body = b"This is a message in MIME format." + line_end + form
    assert parse_file_form(f"multipart/form-data; boundary={boundary}", body).content == b"x"


@pytest.mark.parametrize(
    ("encoding", "content"),
    [("base64", b"eHl6"), ("quoted-printable", b"x=79z"), ("BINARY", b"xyz"), ("8bit", b"xyz")],
)
def test_transfer_encoding_is_decoded(encoding: str, content: bytes) -> None:
    disposition = f"name=content\r\nContent-Transfer-Encoding: {encoding}"
    assert (
        parse_file_form("multipart/form-data; boundary=b", build_form(disposition, content=content)).content
        == b"xyz"
    )


@pytest.mark.parametrize("charset", ["idna", "undefined", "utf\x008"])
def test_name_that_is_not_in_its_charset_is_a_400(charset: str) -> None:
    body = build_form(f"name=content; filename*={charset}''x.png")

    assert reject("multipart/form-data; boundary=b", body).status == 400


@pytest.mark.parametrize("pieces", ["filename*0=b; filename*=utf-8''a", "filename*=utf-8''a; filename*1*=b"])
def test_name_in_pieces_and_whole_is_a_400(pieces: str) -> None:
    body = build_form(f"name=content; {pieces}")

    assert reject("multipart/form-data; boundary=b", body).status == 400


@pytest.mark.parametrize("disposition", ["", "filename=x"])
def test_part_without_name_is_a_400(disposition: str) -> None:
    assert reject("multipart/form-data; boundary=b", build_form(disposition)).status == 400


@given(st.text(max_size=80), st.binary(max_size=200))
def test_any_disposition_raises_at_most_an_api_error(disposition: str, content: bytes) -> None:
    header = disposition.encode("utf-8", "surrogatepass").replace(b"\n", b" ")
    body = b"--b\r\nContent-Disposition: " + header + b"\r\n\r\n" + content + b"\r\n--b--\r\n"
    with suppress(ApiError):
        parse_file_form("multipart/form-data; boundary=b", body)
