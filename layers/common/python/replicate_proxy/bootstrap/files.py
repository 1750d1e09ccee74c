"""The composition root of the files function."""

from __future__ import annotations

from functools import cache

from replicate_proxy.api.files import add_file_routes
from replicate_proxy.api.routing import Router
from replicate_proxy.aws.clients import get_client, get_presigning_client
from replicate_proxy.aws.file_objects import S3FileObjects
from replicate_proxy.aws.file_store import DynamoFileStore
from replicate_proxy.bootstrap.environment import env
from replicate_proxy.bootstrap.secrets import load_file_signing_key
from replicate_proxy.clock import SystemClock
from replicate_proxy.files.service import FileService, FileSettings
from replicate_proxy.settings import (
    ACCESS_TABLE,
    ENABLE_TRANSFER_ACCELERATION,
    IMAGES_BUCKET,
    MAX_UPLOAD_MB,
    PUBLIC_BASE_URL,
)

_MEGABYTE = 1024 * 1024  # bytes


@cache
def build_router() -> Router:
    bucket = env[IMAGES_BUCKET]
    upload_client = get_presigning_client(accelerated=env[ENABLE_TRANSFER_ACCELERATION])
    service = FileService(
        store=DynamoFileStore(get_client("dynamodb"), env[ACCESS_TABLE]),
        objects=S3FileObjects(get_presigning_client(), bucket, upload_client=upload_client),
        load_signing_key=load_file_signing_key,
        clock=SystemClock(),
        settings=FileSettings(max_upload_bytes=env[MAX_UPLOAD_MB] * _MEGABYTE),
    )
    router = Router(public_base_url=env[PUBLIC_BASE_URL])
    add_file_routes(router, service, load_signing_key=load_file_signing_key)
    return router
