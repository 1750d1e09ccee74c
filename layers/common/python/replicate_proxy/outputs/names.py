"""File names that are safe in keys, headers and on disks. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from replicate_proxy.outputs.sniff import FileType

__all__ = ["base_name", "content_disposition", "extension"]

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
_EXTENSION = re.compile(r"[a-z0-9]{1,11}")
# A type that sniffing cannot tell apart keeps the extension its maker gave it, so that programs open it.
_OWN_EXTENSION = frozenset({"text", "archive", "model", "unknown"})
# What such a name promises would have been recognised: the bytes are something else.
_TOLD_APART = frozenset(
    {"png", "jpg", "jpeg", "gif", "webp", "avif", "bmp", "mp4", "webm", "mp3", "wav", "pdf"}
)
_ACTIVE = frozenset(
    {"bat", "cmd", "com", "css", "exe", "hta", "htm", "html", "jar", "js", "mjs", "msi", "php", "sh", "shtml"}
    | {"svg", "svgz", "swf", "xht", "xhtml", "xml", "xsl"}
)


def base_name(url: str) -> str:
    """The last part of a URL's path without extension, at most 60 of [A-Za-z0-9_-]; "output" when nothing is
    left.
    """
    if url[:5].lower() == "data:":
        return "output"
    stem = _last(url).rpartition(".")[0] or _last(url)
    return _UNSAFE.sub("-", stem).strip("-_")[:60] or "output"


def extension(url: str, found: FileType) -> str:
    """By the sniffed type; where that only says text, archive or data, the URL's own unless a browser would
    run it.
    """
    _, dot, own = ("", "", "") if url[:5].lower() == "data:" else _last(url).lower().rpartition(".")
    if found.kind not in _OWN_EXTENSION or not dot or not _EXTENSION.fullmatch(own):
        return found.extension
    return found.extension if own in _ACTIVE | _TOLD_APART else own


def content_disposition(name: str, *, inline: bool) -> str:
    """RFC 6266; `name` must come from `base_name` and `extension`, which leave nothing to escape."""
    return f'{"inline" if inline else "attachment"}; filename="{name}"'


def _last(url: str) -> str:
    try:
        return unquote(urlsplit(url).path).rpartition("/")[2]
    except ValueError:
        return ""
