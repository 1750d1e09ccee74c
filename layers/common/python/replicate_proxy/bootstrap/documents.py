"""The store of documents, shared by most functions."""

from __future__ import annotations

from functools import cache

from replicate_proxy.aws.clients import get_client
from replicate_proxy.aws.document_store import S3DocumentStore
from replicate_proxy.bootstrap.environment import env
from replicate_proxy.settings import IMAGES_BUCKET


@cache
def build_document_store() -> S3DocumentStore:
    return S3DocumentStore(lambda: get_client("s3"), env[IMAGES_BUCKET])
