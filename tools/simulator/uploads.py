"""Uploaded input files (OpenAPI document, /files): stored for a day, downloaded by signature."""

import base64
import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from tools.simulator.randomness import generate_file_id
from tools.simulator.settings import DEFAULT_ACCOUNT, LaunchOptions
from tools.simulator.timestamps import NANOSECONDS_PER_SECOND, format_timestamp, now_ns, to_seconds

MAX_UPLOAD_BYTES = 100 * 1024 * 1024
_LIFETIME_SECONDS = 24 * 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadedFile:
    """One uploaded file."""

    id: str
    name: str
    content_type: str
    body: bytes
    metadata: dict[str, Any]
    created_ns: int

    @property
    def expires_ns(self) -> int:
        """The instant at which the file is deleted."""
        return self.created_ns + _LIFETIME_SECONDS * NANOSECONDS_PER_SECOND


class UploadedFiles:
    """The uploaded files of this process, in memory."""

    def __init__(self, launch: LaunchOptions) -> None:
        self._launch = launch
        self._signing_key = secrets.token_bytes(32)
        self._files: dict[str, UploadedFile] = {}

    def add(self, name: str, content_type: str, body: bytes, metadata: dict[str, Any]) -> UploadedFile:
        """Store a file."""
        file = UploadedFile(
            id=generate_file_id(),
            name=name,
            content_type=content_type,
            body=body,
            metadata=metadata,
            created_ns=now_ns(),
        )
        self._files[file.id] = file
        return file

    def get(self, file_id: str) -> UploadedFile | None:
        """Return the file, unless it has expired."""
        file = self._files.get(file_id)
        if file and file.expires_ns <= now_ns():
            del self._files[file_id]
            return None
        return file

    def list_all(self) -> list[UploadedFile]:
        """Return every file that has not expired, newest first."""
        return [file for file_id in reversed(list(self._files)) if (file := self.get(file_id))]

    def remove(self, file_id: str) -> bool:
        """Delete a file. Return False if there was none."""
        return self._files.pop(file_id, None) is not None

    def clear(self) -> None:
        """Delete every file."""
        self._files.clear()

    def is_valid_signature(self, file_id: str, owner: str, expiry: int, signature: str) -> bool:
        """Return whether the signature of a download URL is correct and has not expired."""
        is_genuine = hmac.compare_digest(self._sign(file_id, owner, expiry), signature)
        return is_genuine and expiry > time.time()

    def build_view(self, file: UploadedFile) -> dict[str, Any]:
        """Return the JSON of a file. Clients need `name` and `etag`, which the OpenAPI document lacks."""
        url = f"{self._launch.public_url}/v1/files/{file.id}"
        expiry = int(to_seconds(file.expires_ns))
        signature = self._sign(file.id, DEFAULT_ACCOUNT, expiry)
        query = {"owner": DEFAULT_ACCOUNT, "expiry": expiry, "signature": signature}
        md5 = hashlib.md5(file.body, usedforsecurity=False).hexdigest()
        return {
            "id": file.id,
            "name": file.name,
            "content_type": file.content_type,
            "size": len(file.body),
            "etag": md5,
            "checksums": {"sha256": hashlib.sha256(file.body).hexdigest(), "md5": md5},
            "metadata": file.metadata,
            "created_at": format_timestamp(file.created_ns),
            "expires_at": format_timestamp(file.expires_ns),
            "urls": {"get": url, "download": f"{url}/download?{urlencode(query)}"},
        }

    def _sign(self, file_id: str, owner: str, expiry: int) -> str:
        """Return the base64 HMAC-SHA256 of `{owner} {id} {expiry}`."""
        digest = hmac.new(self._signing_key, f"{owner} {file_id} {expiry}".encode(), hashlib.sha256).digest()
        return base64.b64encode(digest).decode()
