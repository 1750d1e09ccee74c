"""Where harvested files go, and under which headers they will be served."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Protocol

from replicate_proxy.outputs.keys import Area, object_key
from replicate_proxy.outputs.names import content_disposition

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from replicate_proxy.outputs.walk import Path as OutputPath

__all__ = ["BlobStore", "OutputStore", "Place", "Stored"]

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
class Place:
    """Whose file it is and where it stands in the output."""

    tenant: str
    job_id: str
    path: OutputPath


@dataclass(frozen=True)
class Stored:
    """The object's key and the URL that serves it."""

    key: str
    url: str


class OutputStore:
    """Puts files under unguessable keys, with headers that keep a browser from running any of them."""

    def __init__(self, blobs: BlobStore, *, base_url: str, secret: bytes) -> None:
        self._blobs = blobs
        self._base_url = base_url.rstrip("/")
        self._secret = secret

    def put(
        self, area: Area, place: Place, file: Path, *, name: str, content_type: str, inline: bool, sha256: str
    ) -> Stored:
        """A repeat with the same content finds the object there and writes nothing. Raises RetryableError."""
        key = object_key(
            self._secret,
            area,
            tenant=place.tenant,
            job_id=place.job_id,
            path=place.path,
            sha256=sha256,
            name=name,
        )
        with file.open("rb") as opened:
            self._blobs.put_file(
                key,
                opened,
                content_type=content_type,
                content_disposition=content_disposition(name, inline=inline),
                cache_control=_CACHE_CONTROL,
                metadata={"sha256": sha256, "job": place.job_id},
                sha256=sha256,
            )
        return Stored(key, f"{self._base_url}/{key}")
