"""`data:` URIs (RFC 2397) to bytes. Pure."""

from __future__ import annotations

import base64
import binascii
from urllib.parse import unquote_to_bytes

from replicate_proxy.outputs.errors import FileGoneError

__all__ = ["decode_data_uri"]


def decode_data_uri(uri: str, *, max_bytes: int) -> bytes:
    """The content; the declared media type is ignored, since the bytes tell. Raises FileGoneError."""
    head, comma, body = uri.partition(",")
    if not comma or head[:5].lower() != "data:":
        raise FileGoneError("bad_data_uri")
    # Base64 takes four characters for three bytes; percent-encoding at most three for one.
    if len(body) > 3 * max_bytes + 4:
        raise FileGoneError("too_large")
    content = _base64(body) if head.lower().endswith(";base64") else unquote_to_bytes(body)
    if len(content) > max_bytes:
        raise FileGoneError("too_large")
    return content


def _base64(body: str) -> bytes:
    raw = unquote_to_bytes(body) if "%" in body else body.encode("utf-8", "replace")
    raw = raw.translate(bytes.maketrans(b"-_", b"+/"), b" \t\r\n")
    try:
        return base64.b64decode(raw + b"=" * (-len(raw) % 4), validate=True)
    except binascii.Error as error:
        raise FileGoneError("bad_data_uri") from error
