"""File names and media types as they can stand in a header. Pure."""

from __future__ import annotations

import re

__all__ = ["LONGEST_NAME", "media_type", "plain_name"]

LONGEST_NAME = 255  # bytes (OpenAPI document, files.create)
_MEDIA_TYPE = re.compile(r"[a-z0-9.+-]{1,64}/[a-z0-9.+-]{1,64}", re.ASCII)


def plain_name(name: str) -> str:
    """The last part of a path, without control characters. Raises ValueError where it is too long."""
    last = name.replace("\\", "/").rpartition("/")[2]
    plain = "".join(character for character in last if character.isprintable()).strip() or "file"
    if len(plain.encode("utf-8", "replace")) > LONGEST_NAME:
        raise ValueError(f"must not be longer than {LONGEST_NAME} bytes")
    return plain


def media_type(text: str) -> str:
    """Without parameters; plain bytes where the text is not a media type."""
    kind = text.partition(";")[0].strip().lower()
    return kind if _MEDIA_TYPE.fullmatch(kind) else "application/octet-stream"
