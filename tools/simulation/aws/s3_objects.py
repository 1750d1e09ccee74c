"""Objects of S3: how they are stored, and what responses show of them."""

from __future__ import annotations

import base64
import hashlib
import re
from bisect import bisect_left, insort
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tools.simulation.aws.errors import RejectedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tools.simulation.aws.calls import Parameters, Response

OBJECT_OPTIONS = ("CacheControl", "ContentDisposition", "ContentEncoding", "ContentType", "Metadata")
ENCRYPTION_OPTIONS = ("BucketKeyEnabled", "SSEKMSKeyId", "ServerSideEncryption")
_RANGE = re.compile(r"bytes=([0-9]+)-([0-9]+)")


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object: its bytes, and the headers and metadata that a read returns."""

    body: bytes
    etag: str
    modified_at: float
    headers: Mapping[str, Any]


type ObjectObserver = Callable[[str, StoredObject | None, StoredObject | None], None]
"""Takes the key, the old and the new object."""


class Bucket:
    """The objects of a bucket by key, and the keys in order."""

    def __init__(self) -> None:
        self.observers: list[ObjectObserver] = []
        self.objects: dict[str, StoredObject] = {}
        self.keys: list[str] = []

    def put(self, key: str, stored: StoredObject) -> None:
        old = self.objects.get(key)
        if old is None:
            insort(self.keys, key)
        self.objects[key] = stored
        for observe in self.observers:
            observe(key, old, stored)

    def delete(self, key: str) -> None:
        old = self.objects.pop(key, None)
        if old is None:
            return
        del self.keys[bisect_left(self.keys, key)]
        for observe in self.observers:
            observe(key, old, None)


def calculate_sha256(body: bytes) -> str:
    return base64.b64encode(hashlib.sha256(body).digest()).decode()


def calculate_etag(body: bytes) -> str:
    return f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'


def select_headers(parameters: Parameters) -> Mapping[str, Any]:
    headers = {
        name: parameters[name] for name in (*OBJECT_OPTIONS, *ENCRYPTION_OPTIONS) if name in parameters
    }
    # S3 encrypts every object, by default with its own keys (S3 user guide, "Default encryption").
    headers.setdefault("ServerSideEncryption", "AES256")
    headers.setdefault("ContentType", "binary/octet-stream")
    headers["Metadata"] = dict(headers.get("Metadata", {}))
    return headers


def select_encryption(headers: Mapping[str, Any]) -> Response:
    return {name: headers[name] for name in ENCRYPTION_OPTIONS if name in headers}


def describe_object(stored: StoredObject) -> Response:
    return {
        **stored.headers,
        "AcceptRanges": "bytes",
        "ContentLength": len(stored.body),
        "ETag": stored.etag,
        "LastModified": datetime.fromtimestamp(int(stored.modified_at), UTC),
    }


def describe_listed(key: str, stored: StoredObject) -> Response:
    return {
        "Key": key,
        "ETag": stored.etag,
        "LastModified": datetime.fromtimestamp(int(stored.modified_at), UTC),
        "Size": len(stored.body),
        "StorageClass": "STANDARD",
    }


def parse_range(text: str, size: int) -> tuple[int, int]:
    """Return start and end of a range of bytes, within the size (RFC 9110, 14.1.2)."""
    found = _RANGE.fullmatch(text)
    if found is None:
        raise NotImplementedError(f"the in-memory S3 does not handle Range={text}")
    start, last = int(found[1]), int(found[2])
    if start >= size:
        raise RejectedError("InvalidRange", "The requested range is not satisfiable", status=416)
    return start, min(last + 1, size)
