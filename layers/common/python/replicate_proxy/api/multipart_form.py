"""Parse the multipart form of `POST /v1/files` with python-multipart.

Replicate's clients differ in what they send: `filename` and `type` come as parts of their own or with the
`content` part, and the JavaScript client sends `metadata` as a file named `blob`. Version 2 of the Python
client sends an object as one part for each value, `metadata[order]`, without the types of the values. These
parts are ignored, however many there are.
"""

from __future__ import annotations

import base64
import binascii
import quopri
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from replicate_proxy.api.content_disposition import parse_names
from replicate_proxy.errors import ApiError, field_error
from replicate_proxy.files.model import normalize_media_type, sanitize_file_name
from replicate_proxy.strict_json import parse_strict_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from python_multipart.multipart import MultipartCallbacks


MAX_METADATA_BYTES = 16 * 1024
_MAX_PARTS = 16
_SPLIT_METADATA = "metadata["


@dataclass(frozen=True)
class FileForm:
    """A parsed form: the file's bytes, its name and media type, and the caller's metadata."""

    content: bytes = field(repr=False)
    name: str
    content_type: str
    metadata: Mapping[str, Any]


@dataclass(frozen=True)
class _Part:
    value: bytes
    file_name: str | None
    content_type: str


def parse_file_form(content_type: str, body: bytes) -> FileForm:
    """Return the form. Raises an ApiError that names the missing or invalid part."""
    parts = _parse_parts(_parse_boundary(content_type), body)
    content = parts.get("content")
    if content is None:
        raise field_error("content", "is required", error_type="required")
    try:
        name = sanitize_file_name(_get_text(parts, "filename") or content.file_name or "file")
    except ValueError as error:
        raise field_error("filename", str(error)) from None
    return FileForm(
        content=content.value,
        name=name,
        content_type=normalize_media_type(_get_text(parts, "type") or content.content_type),
        metadata=_parse_metadata(parts.get("metadata")),
    )


def _parse_boundary(content_type: str) -> bytes:
    try:
        media, options = parse_options_header(content_type)
    except ValueError:  # as with characters that a header cannot have
        media, options = b"", {}
    boundary = options.get(b"boundary")
    if media != b"multipart/form-data" or not boundary:
        raise ApiError(415, "Unsupported media type", "The body must be multipart/form-data with a boundary")
    return boundary


def _parse_parts(boundary: bytes, body: bytes) -> dict[str, _Part]:
    reader = _PartReader()
    try:
        parser = MultipartParser(boundary, reader.build_callbacks())
        parser.write(_normalize(boundary, body))
        parser.finalize()
    except FormParserError as error:
        raise ApiError(400, "Invalid form", "The body is not a well-formed multipart form") from error
    if not reader.is_complete:
        raise ApiError(400, "Invalid form", "The body ends before the form does")
    return reader.parts


def _normalize(boundary: bytes, body: bytes) -> bytes:
    """Return the form without preamble, with CRLF where RFC 2046 has it. Contents are not changed."""
    first = re.search(rb"(?:^|\n)(--" + re.escape(boundary) + rb"[ \t]*(\r?\n))", body)
    if first is None:
        return body
    form = body[first.start(1) :]
    if first[2] == b"\r\n":
        return form
    delimiter = b"\n--" + boundary
    parts = (b"\n" + form).split(delimiter)
    return (b"\r" + delimiter).join(map(_restore_line_ends, parts))[len(b"\r\n") :]


def _restore_line_ends(part: bytes) -> bytes:
    """Return the part with CRLF instead of LF in its headers."""
    head, blank_line, content = part.partition(b"\n\n")
    return head.replace(b"\n", b"\r\n") + (b"\r\n\r\n" if blank_line else b"") + content


class _PartReader:
    """Collects the parts of a form from the callbacks of a MultipartParser."""

    def __init__(self) -> None:
        self.parts: dict[str, _Part] = {}
        self.is_complete = False
        self._headers: dict[bytes, bytes] = {}
        self._header_name = self._header_value = b""
        self._content = bytearray()

    def build_callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._start_part,
            "on_header_field": self._add_header_name,
            "on_header_value": self._add_header_value,
            "on_header_end": self._finish_header,
            "on_part_data": self._add_content,
            "on_part_end": self._finish_part,
            "on_end": self._finish,
        }

    def _start_part(self) -> None:
        self._headers, self._content = {}, bytearray()

    def _add_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _add_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _finish_header(self) -> None:
        self._headers[self._header_name.strip().lower()] = self._header_value.strip()
        self._header_name = self._header_value = b""

    def _add_content(self, data: bytes, start: int, end: int) -> None:
        self._content += data[start:end]

    def _finish_part(self) -> None:
        try:
            name, file_name = parse_names(self._headers.get(b"content-disposition", b""))
        except ValueError as error:
            raise ApiError(
                400, "Invalid form", "A name in the form is malformed, or not in UTF-8 or its charset"
            ) from error
        if name is None:
            raise ApiError(400, "Invalid form", "A part of the form has no name")
        if name.startswith(_SPLIT_METADATA):
            return
        if name in self.parts:
            raise field_error(name, "must be sent only once")
        if len(self.parts) == _MAX_PARTS:
            raise field_error(name, f"must be one of at most {_MAX_PARTS} parts")
        content_type = self._headers.get(b"content-type", b"").decode("latin-1")
        self.parts[name] = _Part(self._decode_content(), file_name, content_type)

    def _decode_content(self) -> bytes:
        """Return the content without its transfer encoding, which old clients still use (RFC 7578, 4.7)."""
        match self._headers.get(b"content-transfer-encoding", b"").lower():
            case b"base64":
                try:
                    return base64.b64decode(self._content)
                except binascii.Error as error:
                    raise ApiError(400, "Invalid form", "A part of the form is not Base64") from error
            case b"quoted-printable":
                return quopri.decodestring(self._content)
            case _:
                return bytes(self._content)

    def _finish(self) -> None:
        self.is_complete = True


def _decode_name(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError as error:
        raise ApiError(400, "Invalid form", "A name in the form is not UTF-8") from error


def _get_text(parts: Mapping[str, _Part], name: str) -> str:
    part = parts.get(name)
    return _decode_name(part.value).strip() if part else ""


def _parse_metadata(part: _Part | None) -> Mapping[str, Any]:
    if part is None or not part.value.strip():
        return {}
    if len(part.value) > MAX_METADATA_BYTES:
        raise field_error("metadata", f"must not be larger than {MAX_METADATA_BYTES} bytes")
    try:
        metadata = parse_strict_json(part.value)
    except (ValueError, RecursionError):
        raise field_error("metadata", "must be JSON") from None
    if not isinstance(metadata, dict):
        raise field_error("metadata", "must be a JSON object")
    return metadata
