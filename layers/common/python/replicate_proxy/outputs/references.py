"""File references in an output of any JSON shape: finding them, and putting others in their places. Pure.

Replicate, OpenAPI document: an output is any JSON value; files are strings that are a URL or, in blocking
mode, a `data:` URI. Observed outputs nest up to three deep and hold up to 249 files; no URL lies inside
longer text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


type JsonPath = tuple[str | int, ...]
"""Keys and indexes from the root to a value; the root itself is ()."""

_URL = re.compile(r"https?://[^\s\x00-\x1f\x7f]+", re.IGNORECASE)
_DATA = re.compile(r"data:[^,\x00-\x1f\x7f]{0,512},", re.IGNORECASE)
_LONGEST_URL = 8192


@dataclass(frozen=True)
class FileReference:
    """One string of the output that stands for a file."""

    path: JsonPath
    url: str

    @property
    def is_data_uri(self) -> bool:
        return self.url[:5].lower() == "data:"


def is_file_reference(text: str) -> bool:
    """Whether the whole string is one http(s) URL or `data:` URI; text that merely contains one is not."""
    if len(text) <= _LONGEST_URL and _URL.fullmatch(text):
        return True
    return _DATA.match(text) is not None


def find_references(output: Any) -> list[FileReference]:
    """All references in document order, repeats included; keys of objects are never references."""
    return [FileReference(path, value) for path, value in _strings(output) if is_file_reference(value)]


def replace_references(output: Any, urls: Mapping[JsonPath, str]) -> Any:
    """A copy of the output with the strings at the paths replaced; everything else and all order stays."""
    root: list[Any] = [output]
    copied: set[int] = set()
    for path, url in urls.items():
        _put(root, (0, *path), url, copied)
    return root[0]


def _strings(output: Any) -> Iterator[tuple[JsonPath, str]]:
    """Depth first without recursion: hostile nesting must not exhaust the stack."""
    waiting: list[tuple[JsonPath, Any]] = [((), output)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, str):
            yield path, value
        elif isinstance(value, dict):
            waiting.extend(((*path, key), item) for key, item in reversed(value.items()))
        elif isinstance(value, list | tuple):
            waiting.extend(((*path, index), value[index]) for index in range(len(value) - 1, -1, -1))


def _put(root: list[Any], path: JsonPath, url: str, copied: set[int]) -> None:
    """Replaces one string, copying each container on the way once, so that the caller's output stays as it
    was.
    """
    holder: Any = root
    for step in path[:-1]:
        child = holder[step]
        if id(child) not in copied:
            child = dict(child) if isinstance(child, dict) else list(child)
            copied.add(id(child))
            holder[step] = child
        holder = child
    holder[path[-1]] = url
