"""Find file references in an output of any JSON shape, and replace them. No I/O.

By Replicate's OpenAPI document an output is any JSON value, and files are strings: a URL, or in blocking mode
a `data:` URI (RFC 2397). Observed outputs nest up to three levels deep and hold up to 249 files; none has a
URL within longer text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from replicate_proxy.json_tree import JsonPath, find_strings

if TYPE_CHECKING:
    from collections.abc import Mapping


_URL = re.compile(r"https?://[^\s\x00-\x1f\x7f]+", re.IGNORECASE)
# Blanks are part of a URL only within its path, and only if it ends in the extension of a file: otherwise the
# text begins with a URL.
_URL_OF_FILE_WITH_BLANKS = re.compile(
    r"https?://[^\s/?#\x00-\x1f\x7f]+/[^?#\x00-\x1f\x7f\u2028\u2029]+\.[a-z0-9]{1,11}(?:\?[^\s\x00-\x1f\x7f]*)?",
    re.IGNORECASE,
)
# RFC 2397, but without the URIs that have nothing between `data:` and the comma, which is what text has.
_TOKEN = r"[\w.!#$&^+-]+"  # noqa: S105 - a token of RFC 2045, not a secret
_MEDIA_TYPE = rf"{_TOKEN}/{_TOKEN}"
_PARAMETER = rf'; ?{_TOKEN}=(?:"[^",]*"|[^,;"\s]*)'
_DATA_URI_START = re.compile(
    rf"data:(?:{_MEDIA_TYPE}(?:{_PARAMETER})*+(?:;base64)?|(?:{_PARAMETER})++(?:;base64)?|;base64),",
    re.IGNORECASE | re.ASCII,
)
_MAX_DATA_URI_HEADER_CHARACTERS = 512
_MAX_URL_CHARACTERS = 8192
# Those beyond are left as they are, so that no output can take more memory than the function has.
_MAX_REFERENCES = 10_000


@dataclass(frozen=True)
class FileReference:
    """A string of an output that refers to a file."""

    path: JsonPath
    url: str

    @property
    def recorded_url(self) -> str:
        """Return the URL for a record: a `data:` URI without its content, which may have megabytes."""
        return self.url.partition(",")[0] + "," if is_data_uri(self.url) else self.url


def is_data_uri(text: str) -> bool:
    return text[:5].lower() == "data:"


def is_file_reference(text: str) -> bool:
    """Return whether the whole text is one http(s) URL or `data:` URI."""
    if is_data_uri(text):
        return _DATA_URI_START.match(text[:_MAX_DATA_URI_HEADER_CHARACTERS]) is not None
    if len(text) > _MAX_URL_CHARACTERS:
        return False
    return bool(_URL.fullmatch(text)) or (
        text.count("://") == 1 and _URL_OF_FILE_WITH_BLANKS.fullmatch(text) is not None
    )


def find_references(output: Any) -> list[FileReference]:
    """Return the references in document order, repeated ones too. Keys of objects are not references.

    White space around a URL is not part of it. References after the first 10,000 are not returned.
    """
    found = find_strings(output, lambda text: is_file_reference(text.strip()))
    return [FileReference(path, text.strip()) for path, text in islice(found, _MAX_REFERENCES)]


def replace_references(output: Any, urls: Mapping[JsonPath, str]) -> Any:
    """Return a copy of the output with other strings at those paths."""
    root: list[Any] = [output]
    copied_ids: set[int] = set()
    for path, url in urls.items():
        _replace_string(root, (0, *path), url, copied_ids)
    return root[0]


def _replace_string(root: list[Any], path: JsonPath, url: str, copied_ids: set[int]) -> None:
    """Replace one string. Each container on the path is copied once, so that the original stays unchanged."""
    container: Any = root
    for step in path[:-1]:
        child = container[step]
        if id(child) not in copied_ids:
            child = dict(child) if isinstance(child, dict) else list(child)
            copied_ids.add(id(child))
            container[step] = child
        container = child
    container[path[-1]] = url
