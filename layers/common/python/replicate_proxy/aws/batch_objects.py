"""The objects of large batches in S3."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy.aws.errors import translate_aws_errors
from replicate_proxy.aws.missing_objects import recognize_missing
from replicate_proxy.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from types_boto3_s3 import S3Client

_MISSING = frozenset({"NoSuchKey", "NoSuchUpload", "NotFound", "404"})
_RETRYABLE = frozenset({"SlowDown"})
# The object was replaced by a shorter one.
_RANGE_MISSING = frozenset({"InvalidRange"})
# An attempt at a part that was given up has replaced the part later: the upload cannot be completed.
_PART_REPLACED = frozenset({"InvalidPart"})


class S3BatchObjects:
    """The BatchObjects port on one bucket. For signed URLs, the client must sign with version 4."""

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def read_range(self, key: str, position: int, length: int) -> bytes:
        missing = _MISSING | _RANGE_MISSING
        with (
            translate_aws_errors("read input file", not_found=missing, retryable=_RETRYABLE),
            recognize_missing(self._client, self._bucket, key),
        ):
            response = self._client.get_object(
                Bucket=self._bucket, Key=key, Range=f"bytes={position}-{position + length - 1}"
            )
            return response["Body"].read()

    def put(self, key: str, body: bytes) -> None:
        with translate_aws_errors("store lines of batch", retryable=_RETRYABLE):
            self._client.put_object(Bucket=self._bucket, Key=key, Body=body, ContentType="application/json")

    def read(self, key: str) -> bytes:
        with (
            translate_aws_errors("read lines of batch", not_found=_MISSING, retryable=_RETRYABLE),
            recognize_missing(self._client, self._bucket, key),
        ):
            return self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read()

    def exists(self, key: str) -> bool:
        try:
            with (
                translate_aws_errors("find results", not_found=_MISSING, retryable=_RETRYABLE),
                recognize_missing(self._client, self._bucket, key),
            ):
                self._client.head_object(Bucket=self._bucket, Key=key)
        except NotFoundError:
            return False
        return True

    def start_upload(self, key: str) -> str:
        with translate_aws_errors("start results", retryable=_RETRYABLE):
            return self._client.create_multipart_upload(
                Bucket=self._bucket, Key=key, ContentType="application/jsonl"
            )["UploadId"]

    def upload_part(self, key: str, upload: str, number: int, body: bytes) -> str:
        with translate_aws_errors("write results", not_found=_MISSING, retryable=_RETRYABLE):
            return self._client.upload_part(
                Bucket=self._bucket, Key=key, UploadId=upload, PartNumber=number, Body=body
            )["ETag"]

    def complete_upload(self, key: str, upload: str, parts: Sequence[str]) -> None:
        missing = _MISSING | _PART_REPLACED
        with translate_aws_errors("complete results", not_found=missing, retryable=_RETRYABLE):
            self._client.complete_multipart_upload(
                Bucket=self._bucket,
                Key=key,
                UploadId=upload,
                MultipartUpload={
                    "Parts": [
                        {"PartNumber": number, "ETag": tag} for number, tag in enumerate(parts, start=1)
                    ]
                },
            )

    def create_download_url(self, key: str, *, name: str, lifetime: timedelta) -> str:
        """Return a URL that needs no other credential and serves the object as an attachment."""
        return self._client.generate_presigned_url(
            "get_object",
            Params={
                "Bucket": self._bucket,
                "Key": key,
                "ResponseContentDisposition": f'attachment; filename="{name}"',
            },
            ExpiresIn=int(lifetime.total_seconds()),
        )
