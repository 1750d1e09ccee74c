"""The one store of documents in a process."""

from __future__ import annotations

from functools import cache

from replicate_proxy.aws import client
from replicate_proxy.bootstrap.surroundings import env
from replicate_proxy.storage.documents import S3DocumentStore

__all__ = ["documents"]


@cache
def documents() -> S3DocumentStore:
    return S3DocumentStore(client("s3"), env.text("IMAGES_BUCKET"))
