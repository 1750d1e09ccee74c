"""The one store of documents in a process."""

from __future__ import annotations

from functools import cache

from replicate_proxy.aws.clients import client
from replicate_proxy.aws.document_store import S3DocumentStore
from replicate_proxy.bootstrap.environment import env


@cache
def documents() -> S3DocumentStore:
    return S3DocumentStore(client("s3"), env.text("IMAGES_BUCKET"))
