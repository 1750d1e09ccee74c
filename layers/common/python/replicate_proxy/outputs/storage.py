"""Put harvested files into the bucket, under unguessable keys and with headers that are safe to serve."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Literal, Protocol
from urllib.parse import unquote, urlsplit

from replicate_proxy import signing
from replicate_proxy.outputs.references import is_data_uri

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from replicate_proxy.json_tree import JsonPath
    from replicate_proxy.outputs.file_types import FileType


type KeyPrefix = Literal["outputs", "originals", "thumbs"]
# Outputs and thumbnails of private jobs. The distribution serves them for signed URLs only.
_PRIVATE_PREFIX = "private"
KEY_PREFIXES = ("outputs", "originals", "thumbs", _PRIVATE_PREFIX)

# Keys depend on the content, so the object under a key never changes.
_CACHE_CONTROL = "public, max-age=31536000, immutable"
# Kept by the browser that was given the URL, and by no cache on the way.
_PRIVATE_CACHE_CONTROL = "private, max-age=3600, immutable"
_KEY_DIGITS = 40
_FOLDER_DIGITS = 32


@dataclass(frozen=True)
class ObjectLocation:
    """Whose file it is, and where the output refers to it."""

    tenant: str
    job_id: str
    path: JsonPath
    is_private: bool = False


@dataclass(frozen=True)
class StoredObject:
    """The object's key and the URL that serves it."""

    key: str
    url: str


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
        """Store the file from its current position; return False if the key exists already.

        Raises RetryableError.
        """
        ...


class OutputFileStore:
    """Stores files under keys that cannot be guessed, with headers that keep browsers from running them."""

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
        """Store the file; the same content at the same location is written once. Raises RetryableError."""
        key = build_object_key(self._secret, prefix, location, sha256=sha256, name=name)
        with file.open("rb") as opened:
            self._blobs.put_file(
                key,
                opened,
                content_type=content_type,
                content_disposition=build_content_disposition(name, is_inline=is_inline),
                cache_control=_PRIVATE_CACHE_CONTROL if location.is_private else _CACHE_CONTROL,
                metadata={"sha256": sha256, "job": location.job_id},
                sha256=sha256,
            )
        return StoredObject(key, f"{self._base_url}/{key}")


def build_object_key(
    secret: bytes, prefix: KeyPrefix, location: ObjectLocation, *, sha256: str, name: str
) -> str:
    """Return `<prefix>/<tenant>/<job>/<40 hex digits>/<name>`; all but prefix and name are HMACs.

    Files of a private job that would be public are below `private` instead of their prefix.

    The digits are one over location and content: a repeated harvest that yields other bytes gets another key,
    and the key of one file does not reveal that of another, not even of the same job.
    """
    path = json.dumps(location.path, separators=(",", ":"))
    digest = signing.sign(secret, prefix, location.tenant, location.job_id, path, sha256)
    folder = build_job_folder(secret, location.tenant, location.job_id)
    is_moved = location.is_private and prefix != "originals"
    return f"{_PRIVATE_PREFIX if is_moved else prefix}/{folder}{digest[:_KEY_DIGITS]}/{name}"


def build_tenant_folder(secret: bytes, tenant: str) -> str:
    """Return the part of the keys, with its slash, that all files of the tenant have."""
    return f"{signing.sign(secret, 'tenant-folder', tenant)[:_FOLDER_DIGITS]}/"


def build_job_folder(secret: bytes, tenant: str, job_id: str) -> str:
    """Return the part of the keys, with its slashes, that all files of the job have, and no others."""
    job = signing.sign(secret, "job-folder", tenant, job_id)[:_FOLDER_DIGITS]
    return f"{build_tenant_folder(secret, tenant)}{job}/"


def build_private_folder(secret: bytes, tenant: str, job_id: str) -> str:
    """Return what the keys of all private files of the job begin with, and no others."""
    return f"{_PRIVATE_PREFIX}/{build_job_folder(secret, tenant, job_id)}"


def list_job_prefixes(secret: bytes, tenant: str, job_id: str) -> list[str]:
    """Return the prefixes of all keys of the job's files."""
    folder = build_job_folder(secret, tenant, job_id)
    return [f"{prefix}/{folder}" for prefix in KEY_PREFIXES]


# File names: safe in keys, headers and on disks.

_UNSAFE_CHARACTERS = re.compile(r"[^A-Za-z0-9_-]+")
_EXTENSION = re.compile(r"[a-z0-9]{1,11}")
_MAX_NAME_CHARACTERS = 60
_DEFAULT_NAME = "output"
# Kinds of files whose formats detection cannot tell apart: the extension of the URL says which program opens
# them.
_KINDS_WITH_SOURCE_EXTENSION = frozenset({"text", "archive", "model", "unknown"})
# Files of these formats would have been detected, so the extension is wrong.
_DETECTED_EXTENSIONS = frozenset(
    {"png", "jpg", "jpeg", "gif", "webp", "avif", "bmp", "mp4", "webm", "mp3", "wav", "pdf"}
)
_ACTIVE_EXTENSIONS = frozenset(
    {"bat", "cmd", "com", "css", "exe", "hta", "htm", "html", "jar", "js", "mjs", "msi", "php", "sh", "shtml"}
    | {"svg", "svgz", "swf", "xht", "xhtml", "xml", "xsl"}
)


def build_base_name(url: str) -> str:
    """Return the last part of the URL's path without its extension, at most 60 of [A-Za-z0-9_-].

    A name of which nothing is left, and that of a data URI, is "output".
    """
    if is_data_uri(url):
        return _DEFAULT_NAME
    file_name = _extract_file_name(url)
    stem = file_name.rpartition(".")[0] or file_name
    return _UNSAFE_CHARACTERS.sub("-", stem).strip("-_")[:_MAX_NAME_CHARACTERS] or _DEFAULT_NAME


def choose_extension(url: str, file_type: FileType) -> str:
    """Return the detected type's extension, or the URL's if that is more specific and not active content."""
    file_name = "" if is_data_uri(url) else _extract_file_name(url)
    _, dot, source_extension = file_name.lower().rpartition(".")
    if file_type.kind not in _KINDS_WITH_SOURCE_EXTENSION:
        return file_type.extension
    if not dot or not _EXTENSION.fullmatch(source_extension):
        return file_type.extension
    if source_extension in _ACTIVE_EXTENSIONS | _DETECTED_EXTENSIONS:
        return file_type.extension
    return source_extension


def build_content_disposition(name: str, *, is_inline: bool) -> str:
    """Return the header value (RFC 6266) for a name of `build_base_name` and `choose_extension`.

    Such names need no escaping.
    """
    return f'{"inline" if is_inline else "attachment"}; filename="{name}"'


def _extract_file_name(url: str) -> str:
    try:
        return unquote(urlsplit(url).path).rpartition("/")[2]
    except ValueError:
        return ""
