"""A file as our API shows it, in Replicate's shape. Pure.

The Python client needs `name` and `etag`, which the OpenAPI document does not have.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replicate_proxy.clock import iso
from replicate_proxy.files.addresses import download_address

if TYPE_CHECKING:
    from replicate_proxy.files.model import StoredFile

__all__ = ["file_view"]


def file_view(file: StoredFile, *, base_url: str, signing_key: bytes) -> dict[str, Any]:
    """`urls.get` is what clients put into a prediction's input, so it is the signed address."""
    return {
        "id": file.id,
        "name": file.name,
        "content_type": file.content_type,
        "size": file.size or 0,
        "etag": file.checksums.get("md5", ""),
        "checksums": dict(file.checksums),
        "metadata": dict(file.metadata),
        "created_at": iso(file.created_at),
        "expires_at": iso(file.expires_at),
        "urls": {"get": download_address(base_url, file, signing_key)},
        **({} if file.is_uploaded else {"status": "awaiting_upload"}),
    }
