"""The Content-Disposition header of a part of a form: names in every notation that clients send."""

from __future__ import annotations

import binascii
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.message import Message
from email.utils import collapse_rfc2231_value
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

type _Value = str | tuple[str | None, str | None, str]


def parse_names(header: bytes) -> tuple[str | None, str | None]:
    """Return the name of the part and the name of its file, None for a missing one.

    Browsers send UTF-8, Python's requests and .NET send `filename*=utf-8''…` (RFC 5987), with or without a
    plain `filename` for older servers, which .NET writes as encoded words (RFC 2047). `filename*` is the name
    that is meant. Raises ValueError if a plain name is not UTF-8, if the charset of a name is none, or if a
    name is given both in pieces (RFC 2231) and whole.
    """
    message = Message()
    message["Content-Disposition"] = header.decode("latin-1")
    try:
        parameters = message.get_params([], "Content-Disposition")
    except TypeError as error:
        # The parser sorts pieces by their number, and a whole name has none.
        raise ValueError("a name is given both in pieces and whole") from error
    return _find_name(parameters, "name"), _find_name(parameters, "filename")


def _find_name(parameters: Sequence[tuple[str, _Value]], wanted: str) -> str | None:
    values = [value for name, value in parameters if name.lower() == wanted]
    extended = [value for value in values if isinstance(value, tuple)]
    if extended:
        return collapse_rfc2231_value(extended[0])
    plain = [value for value in values if isinstance(value, str)]
    return _decode_words(plain[0].encode("latin-1").decode()) if plain else None


def _decode_words(text: str) -> str:
    """Return the text that encoded words stand for; text without them, or with broken ones, as it is."""
    if not (text.startswith("=?") and text.endswith("?=")):
        return text
    try:
        return str(make_header(decode_header(text)))
    except (HeaderParseError, LookupError, UnicodeError, binascii.Error):
        return text
