"""The multipart form of POST /v1/files, read by python-multipart. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import FormParser, parse_options_header

from replicate_proxy.api.validation import field_error
from replicate_proxy.errors import ApiError
from replicate_proxy.files.model import normalize_media_type, sanitize_file_name
from replicate_proxy.strict_json import parse_strict_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from python_multipart.multipart import Field, File


_LARGEST_METADATA = 16 * 1024
_MOST_PARTS = 16
_IN_MEMORY = 16 * 1024 * 1024  # more than a request can hold: nothing is written to disk


@dataclass(frozen=True)
class FileForm:
    """What a client sent: the bytes, what it calls them, and its own notes."""

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
    """Raises an ApiError that says which part is missing or wrong.

    `filename` and `type` may come as parts of their own or with the content, as the clients differ; so may
    `metadata`, which the JavaScript client sends as a file named `blob`.
    """
    parts = _parts(content_type, body)
    content = parts.get("content")
    if content is None:
        raise field_error("content", "the form has no such part")
    name = _text(parts, "filename") or content.file_name or "file"
    try:
        plain = sanitize_file_name(name)
    except ValueError as error:
        raise field_error("filename", str(error)) from None
    return FileForm(
        content=content.value,
        name=plain,
        content_type=normalize_media_type(_text(parts, "type") or content.content_type or ""),
        metadata=_metadata(parts.get("metadata")),
    )


def _parts(content_type: str, body: bytes) -> dict[str, _Part]:
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise ApiError(415, "Unsupported media type", "The body must be multipart/form-data with a boundary")
    return _parsed(boundary, body)


def _parsed(boundary: bytes, body: bytes) -> dict[str, _Part]:
    parts: dict[str, _Part] = {}
    ended: list[bool] = []

    def on_field(part: Field) -> None:
        keep(part.field_name, _Part(part.value or b"", None, part.content_type))

    def on_file(part: File) -> None:
        part.file_object.seek(0)
        name = part.file_name
        keep(
            part.field_name,
            _Part(part.file_object.read(), _decoded(name) if name else None, part.content_type),
        )

    def keep(name: bytes | None, part: _Part) -> None:
        key = _decoded(name or b"")
        if key in parts or len(parts) == _MOST_PARTS:
            raise field_error(key, "comes twice, or the form has too many parts")
        parts[key] = part

    try:
        parser = FormParser(
            "multipart/form-data",
            on_field,
            on_file,
            on_end=lambda: ended.append(True),
            boundary=boundary,
            config={"MAX_MEMORY_FILE_SIZE": _IN_MEMORY},
        )
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise ApiError(400, "Invalid form", "The body is not a well-formed multipart form") from error
    if not ended:
        raise ApiError(400, "Invalid form", "The body ends before the form does")
    return parts


def _decoded(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError as error:
        raise ApiError(400, "Invalid form", "A name in the form is not UTF-8") from error


def _text(parts: Mapping[str, _Part], name: str) -> str:
    part = parts.get(name)
    return _decoded(part.value).strip() if part else ""


def _metadata(part: _Part | None) -> Mapping[str, Any]:
    if part is None or not part.value.strip():
        return {}
    if len(part.value) > _LARGEST_METADATA:
        raise field_error("metadata", f"is larger than {_LARGEST_METADATA} bytes")
    try:
        loaded = parse_strict_json(part.value)
    except (ValueError, RecursionError):
        raise field_error("metadata", "is not JSON") from None
    if not isinstance(loaded, dict):
        raise field_error("metadata", "is not a JSON object")
    return loaded
