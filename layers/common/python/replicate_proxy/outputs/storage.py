"""File names that are safe in keys, headers and on disks. Pure.

Object keys that nobody can guess and every repeat finds again. Pure.

Where harvested files go, and under which headers they will be served.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Literal, Protocol
from urllib.parse import unquote, urlsplit

from replicate_proxy import signing

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from replicate_proxy.outputs.file_types import FileType
    from replicate_proxy.outputs.references import JsonPath


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


def build_base_name(url: str) -> str:
    """The last part of a URL's path without extension, at most 60 of [A-Za-z0-9_-]; "output" when nothing is
    left.
    """
    if url[:5].lower() == "data:":
        return "output"
    stem = _last(url).rpartition(".")[0] or _last(url)
    return _UNSAFE.sub("-", stem).strip("-_")[:60] or "output"


def choose_extension(url: str, found: FileType) -> str:
    """By the sniffed type; where that only says text, archive or data, the URL's own unless a browser would
    run it.
    """
    _, dot, own = ("", "", "") if url[:5].lower() == "data:" else _last(url).lower().rpartition(".")
    if found.kind not in _OWN_EXTENSION or not dot or not _EXTENSION.fullmatch(own):
        return found.extension
    return found.extension if own in _ACTIVE | _TOLD_APART else own


def build_content_disposition(name: str, *, inline: bool) -> str:
    """RFC 6266; `name` must come from `base_name` and `extension`, which leave nothing to escape."""
    return f'{"inline" if inline else "attachment"}; filename="{name}"'


def _last(url: str) -> str:
    try:
        return unquote(urlsplit(url).path).rpartition("/")[2]
    except ValueError:
        return ""


type KeyPrefix = Literal["outputs", "originals", "thumbs"]
_DIGITS = 40


def build_object_key(
    secret: bytes, area: KeyPrefix, *, tenant: str, job_id: str, path: JsonPath, sha256: str, name: str
) -> str:
    """`<area>/<40 hex digits>/<name>`: an HMAC over tenant, job, place in the output and content.

    The content is part of it so that a repeat that came out otherwise can never be taken for what lies there.
    Knowing one file's key tells nothing about another's, not even within the same job.
    """
    place = json.dumps(path, separators=(",", ":"))
    return f"{area}/{signing.sign(secret, area, tenant, job_id, place, sha256)[:_DIGITS]}/{name}"


# Keys are made from the content, so what lies under one never changes.
_CACHE_CONTROL = "public, max-age=31536000, immutable"


class BlobStore(Protocol):
    def put_file(
        self,
        key: str,
        file: BinaryIO,
        *,
        content_type: str,
        content_disposition: str | None = None,
        cache_control: str | None = None,
        metadata: Mapping[str, str] | None = None,
        sha256: str | None = None,
        if_none_match: bool = True,
    ) -> bool:
        """Stores the file from its current position; False when the key was taken already. Raises
        RetryableError.
        """
        ...


@dataclass(frozen=True)
class ObjectLocation:
    """Whose file it is and where it stands in the output."""

    tenant: str
    job_id: str
    path: JsonPath


@dataclass(frozen=True)
class StoredObject:
    """The object's key and the URL that serves it."""

    key: str
    url: str


class OutputFileStore:
    """Puts files under unguessable keys, with headers that keep a browser from running any of them."""

    def __init__(self, blobs: BlobStore, *, base_url: str, secret: bytes) -> None:
        self._blobs = blobs
        self._base_url = base_url.rstrip("/")
        self._secret = secret

    def put(
        self,
        prefix: KeyPrefix,
        location: ObjectLocation,
        file: Path,
        *,
        name: str,
        content_type: str,
        is_inline: bool,
        sha256: str,
    ) -> StoredObject:
        """A repeat with the same content finds the object there and writes nothing. Raises RetryableError."""
        key = build_object_key(
            self._secret,
            prefix,
            tenant=location.tenant,
            job_id=location.job_id,
            path=location.path,
            sha256=sha256,
            name=name,
        )
        with file.open("rb") as opened:
            self._blobs.put_file(
                key,
                opened,
                content_type=content_type,
                content_disposition=build_content_disposition(name, inline=is_inline),
                cache_control=_CACHE_CONTROL,
                metadata={"sha256": sha256, "job": location.job_id},
                sha256=sha256,
            )
        return StoredObject(key, f"{self._base_url}/{key}")
