"""What fits into a page, which has to fit into a response. No I/O."""

from __future__ import annotations

import json
from itertools import batched
from typing import TYPE_CHECKING, Any

from markupsafe import escape

from replicate_proxy.response_size import MAX_RESPONSE_BYTES, calculate_sent_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable

# The rest is for all other parts of the page.
MAX_TEXT_BYTES = MAX_RESPONSE_BYTES * 3 // 4
_CHUNKS_PER_CHECK = 1000
_ENCODER = json.JSONEncoder(indent=2, ensure_ascii=False, default=str)


class PageSpace:
    """The space that a page has for JSON and long texts, which are left out where they do not fit.

    They are measured as they are sent: pretty-printed and escaped, JSON can be several times as large as in
    the API.
    """

    def __init__(self, max_bytes: int = MAX_TEXT_BYTES) -> None:
        self._free_bytes = max_bytes

    def fit_json(self, value: Any) -> str | None:
        """Return JSON to read, None if it does not fit, or is nested too deeply to be written in parts."""
        try:
            return self._fit(_ENCODER.iterencode(value))
        except RecursionError:
            return None

    def fit_text(self, text: str) -> str | None:
        """Return the text, None if it does not fit."""
        return self._fit([text])

    def _fit(self, chunks: Iterable[str]) -> str | None:
        texts: list[str] = []
        free_bytes = self._free_bytes
        for some_chunks in batched(chunks, _CHUNKS_PER_CHECK, strict=False):
            text = "".join(some_chunks)
            free_bytes -= calculate_sent_bytes(escape(text))
            if free_bytes < 0:
                return None
            texts.append(text)
        self._free_bytes = free_bytes
        return "".join(texts)
