"""What the files function is made of."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING

from replicate_proxy.api.files import file_routes
from replicate_proxy.aws.clients import get_client, get_presigning_client
from replicate_proxy.aws.file_objects import S3FileObjects
from replicate_proxy.aws.file_store import DynamoFileStore
from replicate_proxy.bootstrap.secrets import file_signing_key
from replicate_proxy.clock import SystemClock
from replicate_proxy.config import Env
from replicate_proxy.files.service import FileService, FileSettings

if TYPE_CHECKING:
    from replicate_proxy.api.http import Router


_MEGABYTE = 1024 * 1024


@cache
def build_router() -> Router:
    env = Env(os.environ)
    bucket = env.text("IMAGES_BUCKET")
    accelerated = (
        f"https://{bucket}.s3-accelerate.amazonaws.com/" if env.flag("UPLOAD_ACCELERATION") else None
    )
    service = FileService(
        store=DynamoFileStore(get_client("dynamodb"), env.text("ACCESS_TABLE")),
        objects=S3FileObjects(get_presigning_client(), bucket, upload_url=accelerated),
        load_signing_key=file_signing_key,
        clock=SystemClock(),
        settings=FileSettings(max_upload_bytes=env.integer("MAX_UPLOAD_MB", 100) * _MEGABYTE),
    )
    return file_routes(service, signing_key=file_signing_key, public_base_url=env.text("PUBLIC_BASE_URL", ""))
