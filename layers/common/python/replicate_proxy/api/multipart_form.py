"""Parse the multipart form of `POST /v1/files` with python-multipart.

Replicate's clients differ in what they send: `filename` and `type` come as parts of their own or with the
`content` part, and the JavaScript client sends `metadata` as a file named `blob`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import FormParser, parse_options_header

from replicate_proxy.errors import ApiError, field_error
from replicate_proxy.files.model import normalize_media_type, sanitize_file_name
from replicate_proxy.strict_json import parse_strict_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from python_multipart.multipart import Field, File


MAX_METADATA_BYTES = 16 * 1024
_MAX_PARTS = 16
# More than a request can hold, so that nothing is written to disk.
_MAX_MEMORY_BYTES = 16 * 1024 * 1024


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
    content_type: str | None


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
        content_type=normalize_media_type(_get_text(parts, "type") or content.content_type or ""),
        metadata=_parse_metadata(parts.get("metadata")),
    )


def _parse_boundary(content_type: str) -> bytes:
    media, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if media != b"multipart/form-data" or not boundary:
        raise ApiError(415, "Unsupported media type", "The body must be multipart/form-data with a boundary")
    return boundary


def _parse_parts(boundary: bytes, body: bytes) -> dict[str, _Part]:
    parts: dict[str, _Part] = {}
    ends: list[bool] = []

    def on_field(part: Field) -> None:
        add(part.field_name, _Part(part.value or b"", None, part.content_type))

    def on_file(part: File) -> None:
        part.file_object.seek(0)
        file_name = _decode_name(part.file_name) if part.file_name else None
        add(part.field_name, _Part(part.file_object.read(), file_name, part.content_type))

    def add(raw_name: bytes | None, part: _Part) -> None:
        name = _decode_name(raw_name or b"")
        if name in parts:
            raise field_error(name, "must be sent only once")
        if len(parts) == _MAX_PARTS:
            raise field_error(name, f"must be one of at most {_MAX_PARTS} parts")
        parts[name] = part

    try:
        parser = FormParser(
            "multipart/form-data",
            on_field,
            on_file,
            on_end=lambda: ends.append(True),
            boundary=boundary,
            config={"MAX_MEMORY_FILE_SIZE": _MAX_MEMORY_BYTES},
        )
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise ApiError(400, "Invalid form", "The body is not a well-formed multipart form") from error
    if not ends:
        raise ApiError(400, "Invalid form", "The body ends before the form does")
    return parts


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
