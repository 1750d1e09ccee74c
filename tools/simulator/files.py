"""Uploaded input files (OpenAPI document, /files): kept a day, downloaded by signature."""

import base64
import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from tools.simulator import clock, ids
from tools.simulator.settings import Launch

OWNER = "local"
LARGEST = 100 * 1024 * 1024  # bytes
_LIFE = 24 * 3600  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """One uploaded file."""

    id: str
    name: str
    content_type: str
    body: bytes
    metadata: dict[str, Any]
    created_ns: int

    @property
    def expires_ns(self) -> int:
        """When it is deleted."""
        return self.created_ns + _LIFE * clock.NANOSECONDS


class Uploads:
    """The files of this process, in memory."""

    def __init__(self, launch: Launch) -> None:
        self._launch = launch
        self._secret = secrets.token_bytes(32)
        self._uploads: dict[str, Upload] = {}

    def add(self, name: str, content_type: str, body: bytes, metadata: dict[str, Any]) -> Upload:
        """Keep a file."""
        upload = Upload(
            id=ids.file_id(),
            name=name,
            content_type=content_type,
            body=body,
            metadata=metadata,
            created_ns=clock.now_ns(),
        )
        self._uploads[upload.id] = upload
        return upload

    def get(self, upload_id: str) -> Upload | None:
        """A file that hasn't expired."""
        upload = self._uploads.get(upload_id)
        if upload and upload.expires_ns <= clock.now_ns():
            del self._uploads[upload_id]
            return None
        return upload

    def all(self) -> list[Upload]:
        """Newest first."""
        return [upload for key in reversed(list(self._uploads)) if (upload := self.get(key))]

    def remove(self, upload_id: str) -> bool:
        """Delete a file; False if there was none."""
        return self._uploads.pop(upload_id, None) is not None

    def clear(self) -> None:
        """Delete every file."""
        self._uploads.clear()

    def signature(self, upload_id: str, owner: str, expiry: int) -> str:
        """base64 HMAC-SHA256 of `{owner} {id} {expiry}`."""
        digest = hmac.new(self._secret, f"{owner} {upload_id} {expiry}".encode(), hashlib.sha256).digest()
        return base64.b64encode(digest).decode()

    def may_download(self, upload_id: str, owner: str, expiry: int, signature: str) -> bool:
        """Whether the signature is ours and not yet expired."""
        genuine = hmac.compare_digest(self.signature(upload_id, owner, expiry), signature)
        return genuine and expiry > time.time()

    def shown(self, upload: Upload) -> dict[str, Any]:
        """The JSON of a file; clients need `name` and `etag` though the OpenAPI document lacks them."""
        base = f"{self._launch.url}/v1/files/{upload.id}"
        expiry = int(clock.seconds(upload.expires_ns))
        query = {"owner": OWNER, "expiry": expiry, "signature": self.signature(upload.id, OWNER, expiry)}
        md5 = hashlib.md5(upload.body, usedforsecurity=False).hexdigest()
        return {
            "id": upload.id,
            "name": upload.name,
            "content_type": upload.content_type,
            "size": len(upload.body),
            "etag": md5,
            "checksums": {"sha256": hashlib.sha256(upload.body).hexdigest(), "md5": md5},
            "metadata": upload.metadata,
            "created_at": clock.iso(upload.created_ns),
            "expires_at": clock.iso(upload.expires_ns),
            "urls": {"get": base, "download": f"{base}/download?{urlencode(query)}"},
        }
