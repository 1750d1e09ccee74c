"""Fetch the files of an output: over HTTP from allowed hosts, or from a `data:` URI."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import shutil
import tempfile
import threading
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote_to_bytes

from replicate_proxy.errors import PermanentError, RetryableError
from replicate_proxy.net.addresses import escape_blanks
from replicate_proxy.net.errors import (
    ForbiddenUrlError,
    InvalidResponseError,
    RequestTimeoutError,
    ResponseTooLargeError,
    UnreachableError,
)
from replicate_proxy.net.retry_after import parse_retry_after
from replicate_proxy.outputs.file_types import HEAD_BYTES
from replicate_proxy.outputs.references import is_data_uri

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from replicate_proxy.net.response import GuardedResponse
    from replicate_proxy.net.session import GuardedSession


class PermanentFetchError(PermanentError):
    """The file cannot be fetched, and a retry does not help. `reason` is for records, metrics and logs."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class TransientFetchError(RetryableError):
    """The fetch failed; a retry may succeed as long as Replicate has the file (one hour)."""

    def __init__(self, reason: str, *, retry_after: float | None = None) -> None:
        super().__init__(reason, retry_after=retry_after)
        self.reason = reason


class FetchDeferredError(RetryableError):
    """This invocation lacks the disk space or the time for the file: a later one has to fetch it."""


@dataclass(frozen=True)
class FetchedFile:
    """A file on disk: its size in bytes, its SHA-256 in hex, its first `HEAD_BYTES`.

    `is_encoded` if it has a content encoding that is not known, and is stored as it was sent.
    """

    size: int
    sha256: str
    head: bytes
    is_encoded: bool = False


class FileFetcher(Protocol):
    def fetch(self, url: str, target: Path, *, max_bytes: int, timeout_seconds: float) -> FetchedFile:
        """Write the file to `target`.

        Raises PermanentFetchError, TransientFetchError, FetchDeferredError.
        """
        ...

    def reserve_copy(self, size: int) -> None:
        """Reserve disk space for a changed copy of a fetched file of that size, which `discard` releases.

        Raises PermanentFetchError, FetchDeferredError.
        """
        ...

    def discard(self, target: Path, size: int) -> None:
        """Remove the file, if it exists, and release its disk space."""
        ...


# By RFC 9110: the file, and the file as a proxy has changed it.
_COMPLETE_STATUSES = frozenset({200, 203})
_CONTENT_RANGE = re.compile(r"bytes 0-(\d{1,18})/(\d{1,18})")
_MISSING_STATUSES = frozenset({404, 410})
_DENIED_STATUSES = frozenset({401, 402, 403, 407, 451})
_TRANSIENT_STATUSES = frozenset({408, 425, 429})


class HttpFileFetcher:
    """Fetches URLs through a guarded session, which checks hosts and addresses, and decodes `data:` URIs."""

    def __init__(self, session: GuardedSession, *, disk_budget: DiskBudget) -> None:
        self._session = session
        self._disk_budget = disk_budget

    def fetch(self, url: str, target: Path, *, max_bytes: int, timeout_seconds: float) -> FetchedFile:
        if is_data_uri(url):
            return self._write([decode_data_uri(url, max_bytes=max_bytes)], target)
        try:
            return self._download(url, target, max_bytes=max_bytes, timeout_seconds=timeout_seconds)
        except ForbiddenUrlError as error:
            raise PermanentFetchError("address_not_allowed") from error
        except ResponseTooLargeError as error:
            raise PermanentFetchError("too_large") from error
        except InvalidResponseError as error:
            raise PermanentFetchError("bad_response") from error
        except RequestTimeoutError as error:
            raise TransientFetchError("too_slow") from error
        except UnreachableError as error:
            raise TransientFetchError("unreachable") from error

    def reserve_copy(self, size: int) -> None:
        self._disk_budget.reserve(size, already_reserved=size)

    def discard(self, target: Path, size: int) -> None:
        target.unlink(missing_ok=True)
        self._disk_budget.release(size)

    def _download(self, url: str, target: Path, *, max_bytes: int, timeout_seconds: float) -> FetchedFile:
        with self._session.request(
            "GET", escape_blanks(url), timeout_seconds=timeout_seconds, stream=True, max_bytes=max_bytes
        ) as response:
            _check_status(response)
            fetched = self._write(response.iter_chunks(), target)
            return replace(fetched, is_encoded=not response.has_known_encoding)

    def _write(self, chunks: Iterable[bytes], target: Path) -> FetchedFile:
        digest, head, size = hashlib.sha256(), b"", 0
        try:
            with target.open("wb") as file:
                for chunk in chunks:
                    self._disk_budget.reserve(len(chunk), already_reserved=size)
                    size += len(chunk)
                    digest.update(chunk)
                    if len(head) < HEAD_BYTES:
                        head += chunk[: HEAD_BYTES - len(head)]
                    file.write(chunk)
        except BaseException:
            self.discard(target, size)
            raise
        return FetchedFile(size=size, sha256=digest.hexdigest(), head=head)


def _check_status(response: GuardedResponse) -> None:
    status = response.status
    if status in _COMPLETE_STATUSES or (status == HTTPStatus.PARTIAL_CONTENT and _is_complete(response)):
        return
    if status in _MISSING_STATUSES:
        raise PermanentFetchError("not_found")
    if status in _DENIED_STATUSES:
        raise PermanentFetchError("denied")
    if status < HTTPStatus.MULTIPLE_CHOICES:
        # No content, or not all of it yet.
        raise TransientFetchError("incomplete")
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _TRANSIENT_STATUSES:
        retry_after = parse_retry_after(response.headers.get("Retry-After"), datetime.now(UTC))
        raise TransientFetchError("upstream_error", retry_after=retry_after)
    raise PermanentFetchError("bad_response")


def _is_complete(response: GuardedResponse) -> bool:
    """Return whether the range of a partial response is the whole file (RFC 9110, section 14.4)."""
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
    return match is not None and int(match[1]) + 1 == int(match[2])


# Replicate's OpenAPI document: output files are on replicate.delivery and its subdomains.
DEFAULT_HOSTS = ("replicate.delivery", "*.replicate.delivery")


class HostAllowlist:
    """Decides by host name: exact names, `*.name` for all subdomains of a name (not itself), `*` for all.

    `evilreplicate.delivery` is not a subdomain of `replicate.delivery`.
    """

    def __init__(self, patterns: Iterable[str] = DEFAULT_HOSTS) -> None:
        cleaned = [pattern.strip().lower().removesuffix(".") for pattern in patterns if pattern.strip()]
        self._allows_all = "*" in cleaned
        self._names = frozenset(pattern for pattern in cleaned if not pattern.startswith("*"))
        self._suffixes = tuple(pattern[1:] for pattern in cleaned if pattern.startswith("*."))

    def __call__(self, host: str) -> bool:
        """Return whether files may be fetched from the host."""
        host = host.lower().removesuffix(".")
        return self._allows_all or host in self._names or host.endswith(self._suffixes)


# For thumbnails, which the image compressor writes beside the sources and outputs.
_RESERVED_DISK_BYTES = 64 * 1024 * 1024


class DiskBudget:
    """Bytes of temporary disk that all files of a process share: `limit`, but no more than is free."""

    def __init__(self, limit: int, *, free_bytes: int | None = None) -> None:
        if free_bytes is None:
            free_bytes = shutil.disk_usage(tempfile.gettempdir()).free
        self._limit = limit
        self._remaining = min(limit, free_bytes - _RESERVED_DISK_BYTES)
        self._lock = threading.Lock()

    def reserve(self, size: int, *, already_reserved: int) -> None:
        """Reserve `size` more bytes for a file that has `already_reserved` ones.

        Raises FetchDeferredError if they are not free now, PermanentFetchError("too_large") if the file would
        exceed the limit on its own. What is free differs between invocations, so that another may have room.
        """
        with self._lock:
            if already_reserved + size > self._limit:
                raise PermanentFetchError("too_large")
            if size > self._remaining:
                raise FetchDeferredError("the temporary disk is full")
            self._remaining -= size

    def release(self, size: int) -> None:
        with self._lock:
            self._remaining += size


def decode_data_uri(uri: str, *, max_bytes: int) -> bytes:
    """Return the content of a `data:` URI (RFC 2397), whose media type is ignored.

    Raises PermanentFetchError.
    """
    header, comma, body = uri.partition(",")
    if not comma or not is_data_uri(header):
        raise PermanentFetchError("bad_data_uri")
    # Three bytes take four characters in Base64, one byte takes at most three in percent-encoding.
    if len(body) > 3 * max_bytes + 4:
        raise PermanentFetchError("too_large")
    is_base64 = header.lower().endswith(";base64")
    content = _decode_base64(body) if is_base64 else unquote_to_bytes(body)
    if len(content) > max_bytes:
        raise PermanentFetchError("too_large")
    return content


def _decode_base64(body: str) -> bytes:
    """Decode either Base64 alphabet, percent-encoded or not, with or without padding."""
    encoded = unquote_to_bytes(body) if "%" in body else body.encode("utf-8", "replace")
    encoded = encoded.translate(bytes.maketrans(b"-_", b"+/"), b" \t\r\n")
    try:
        return base64.b64decode(encoded + b"=" * (-len(encoded) % 4), validate=True)
    except binascii.Error as error:
        raise PermanentFetchError("bad_data_uri") from error
