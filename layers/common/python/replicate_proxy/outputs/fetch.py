"""Why a file stays where the model put it; `reason` is a stable word for records, metrics and log lines.

`data:` URIs (RFC 2397) to bytes. Pure.

Which hosts files are fetched from. Pure.

Files from where a model put them to our disk: streamed, counted, hashed on the way.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import shutil
import tempfile
import threading
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote_to_bytes

from replicate_proxy.errors import PermanentError, RetryableError
from replicate_proxy.net.errors import (
    ForbiddenUrlError,
    InvalidResponseError,
    RequestTimeoutError,
    ResponseTooLargeError,
    UnreachableError,
)
from replicate_proxy.outputs.file_types import HEAD_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from replicate_proxy.net.session import GuardedSession


class FileUnobtainableError(PermanentError):
    """No further try will get this file: record it as left."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class FileUnavailableError(RetryableError):
    """This try failed; another may succeed while Replicate still has the file (one hour)."""

    def __init__(self, reason: str, *, retry_after: float | None = None) -> None:
        super().__init__(reason, retry_after=retry_after)
        self.reason = reason


class FileDeferredError(RetryableError):
    """This invocation has no room or time left for the file: leave it to the next one."""


def decode_data_uri(uri: str, *, max_bytes: int) -> bytes:
    """The content; the declared media type is ignored, since the bytes tell. Raises FileGoneError."""
    head, comma, body = uri.partition(",")
    if not comma or head[:5].lower() != "data:":
        raise FileUnobtainableError("bad_data_uri")
    # Base64 takes four characters for three bytes; percent-encoding at most three for one.
    if len(body) > 3 * max_bytes + 4:
        raise FileUnobtainableError("too_large")
    content = _base64(body) if head.lower().endswith(";base64") else unquote_to_bytes(body)
    if len(content) > max_bytes:
        raise FileUnobtainableError("too_large")
    return content


def _base64(body: str) -> bytes:
    raw = unquote_to_bytes(body) if "%" in body else body.encode("utf-8", "replace")
    raw = raw.translate(bytes.maketrans(b"-_", b"+/"), b" \t\r\n")
    try:
        return base64.b64decode(raw + b"=" * (-len(raw) % 4), validate=True)
    except binascii.Error as error:
        raise FileUnobtainableError("bad_data_uri") from error


# Replicate's OpenAPI document: output files lie on replicate.delivery and its subdomains.
DEFAULT_HOSTS = ("replicate.delivery", "*.replicate.delivery")


class HostAllowlist:
    """Exact names, `*.name` for every subdomain of it (not itself), `*` for all. Called with a lower-case
    host.

    A subdomain is told by its dot: `evilreplicate.delivery` is none of replicate.delivery's.
    """

    def __init__(self, patterns: Iterable[str] = DEFAULT_HOSTS) -> None:
        cleaned = [pattern.strip().lower().removesuffix(".") for pattern in patterns if pattern.strip()]
        self._any = "*" in cleaned
        self._names = frozenset(pattern for pattern in cleaned if not pattern.startswith("*"))
        self._suffixes = tuple(pattern[1:] for pattern in cleaned if pattern.startswith("*."))

    def __call__(self, host: str) -> bool:
        host = host.lower().removesuffix(".")
        return self._any or host in self._names or host.endswith(self._suffixes)


# For the images' outputs and thumbnails, which are written beside their sources.
_DISK_RESERVE = 64 * 1024 * 1024
_NOT_FOUND = frozenset({404, 410})
_DENIED = frozenset({401, 402, 403, 407, 451})
_PASSING = frozenset({408, 425, 429})


@dataclass(frozen=True)
class FetchedFile:
    """A file on disk at the path that was asked for; `head` are its first bytes, `sha256` is in hex."""

    size: int
    sha256: str
    head: bytes


class DiskBudget:
    """Bytes of temporary disk that all downloads of a process share: `limit`, or what the disk has if that is
    less.
    """

    def __init__(self, limit: int, *, free: int | None = None) -> None:
        there_is = shutil.disk_usage(tempfile.gettempdir()).free if free is None else free
        self._total = self._left = min(limit, there_is - _DISK_RESERVE)
        self._lock = threading.Lock()

    def reserve(self, size: int, *, already_reserved: int) -> None:
        """Raises DeferredError when there is no room for `amount` more bytes now, FileGoneError("too_large")
        when the file, of which `held` bytes lie there already, would not fit on the empty disk either.
        """
        with self._lock:
            if already_reserved + size > self._total:
                raise FileUnobtainableError("too_large")
            if size > self._left:
                raise FileDeferredError("the temporary disk is full")
            self._left -= size

    def release(self, size: int) -> None:
        with self._lock:
            self._left += size


class FileFetcher(Protocol):
    def fetch(self, url: str, target: Path, *, max_bytes: int, timeout_seconds: float) -> FetchedFile:
        """Writes the file to `target`. Raises FileGoneError, FileUnavailableError, DeferredError."""
        ...

    def discard(self, target: Path, size: int) -> None:
        """Removes the file and gives its disk space back."""
        ...


class HttpFileFetcher:
    """URLs through a guarded session (its `allowed_hosts` decide which), and `data:` URIs."""

    def __init__(self, session: GuardedSession, *, budget: DiskBudget) -> None:
        self._session = session
        self._budget = budget

    def fetch(self, url: str, target: Path, *, max_bytes: int, timeout_seconds: float) -> FetchedFile:
        if url[:5].lower() == "data:":
            return self._spool([decode_data_uri(url, max_bytes=max_bytes)], target)
        try:
            return self._download(url, target, max_bytes=max_bytes, seconds=timeout_seconds)
        except ForbiddenUrlError as error:
            raise FileUnobtainableError("address_not_allowed") from error
        except ResponseTooLargeError as error:
            raise FileUnobtainableError("too_large") from error
        except InvalidResponseError as error:
            raise FileUnobtainableError("bad_response") from error
        except RequestTimeoutError as error:
            raise FileUnavailableError("too_slow") from error
        except UnreachableError as error:
            raise FileUnavailableError("unreachable") from error

    def discard(self, target: Path, size: int) -> None:
        target.unlink(missing_ok=True)
        self._budget.release(size)

    def _download(self, url: str, target: Path, *, max_bytes: int, seconds: float) -> FetchedFile:
        with self._session.request(
            "GET", url, timeout_seconds=seconds, stream=True, max_bytes=max_bytes
        ) as response:
            _check_status(response.status, response.headers.get("Retry-After", ""))
            return self._spool(response.iter_chunks(), target)

    def _spool(self, chunks: Iterable[bytes], target: Path) -> FetchedFile:
        digest, head, size = hashlib.sha256(), b"", 0
        try:
            with target.open("wb") as file:
                for chunk in chunks:
                    self._budget.reserve(len(chunk), already_reserved=size)
                    size += len(chunk)
                    digest.update(chunk)
                    if len(head) < HEAD_BYTES:
                        head += chunk[: HEAD_BYTES - len(head)]
                    file.write(chunk)
        except BaseException:
            self.discard(target, size)
            raise
        return FetchedFile(size=size, sha256=digest.hexdigest(), head=head)


def _check_status(status: int, retry_after: str) -> None:
    if status == HTTPStatus.OK:
        return
    if status in _NOT_FOUND:
        raise FileUnobtainableError("not_found")
    if status in _DENIED:
        raise FileUnobtainableError("denied")
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _PASSING:
        wait = float(retry_after) if retry_after.isascii() and retry_after.isdigit() else None
        raise FileUnavailableError("upstream_error", retry_after=wait)
    raise FileUnobtainableError("bad_response")
