"""Find file references in an output of any JSON shape, and replace them. No I/O.

By Replicate's OpenAPI document an output is any JSON value, and files are strings: a URL, or in blocking mode
a `data:` URI. Observed outputs nest up to three levels deep and hold up to 249 files; none has a URL within
longer text.
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
_DATA_URI_START = re.compile(r"data:[^,\x00-\x1f\x7f]{0,512},", re.IGNORECASE)
_MAX_URL_CHARACTERS = 8192
# Those beyond are left as they are, so that no output can take more memory than the function has.
_MAX_REFERENCES = 10_000


@dataclass(frozen=True)
class FileReference:
    """A string of an output that refers to a file."""

    path: JsonPath
    url: str


def is_data_uri(text: str) -> bool:
    return text[:5].lower() == "data:"


def is_file_reference(text: str) -> bool:
    """Return whether the whole text is one http(s) URL or `data:` URI."""
    if len(text) <= _MAX_URL_CHARACTERS and _URL.fullmatch(text):
        return True
    return _DATA_URI_START.match(text) is not None


def find_references(output: Any) -> list[FileReference]:
    """Return the references in document order, repeated ones too. Keys of objects are not references.

    Those after the first 10,000 are not returned.
    """
    found = find_strings(output, is_file_reference)
    return [FileReference(path, text) for path, text in islice(found, _MAX_REFERENCES)]


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
