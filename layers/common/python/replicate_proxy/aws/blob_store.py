"""Output files in S3: small ones in one request, large ones as multipart upload in constant memory."""

from __future__ import annotations

import base64
import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from botocore.exceptions import BotoCoreError, ClientError

from replicate_proxy.aws.errors import get_error_code, translate_aws_errors
from replicate_proxy.errors import ConflictError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from types_boto3_s3 import S3Client
    from types_boto3_s3.type_defs import CompletedPartTypeDef


# S3 takes at most 10,000 parts of at least 5 MiB (Amazon S3, multipart upload limits): enough for 80 GB.
_PART_BYTES = 8 * 1024 * 1024

_MISSING = frozenset({"NoSuchKey", "NotFound", "404"})
_CONFLICT = frozenset({"PreconditionFailed", "412"})
_MISCONFIGURED = frozenset({"AccessDenied", "AllAccessDisabled", "InvalidBucketName", "NoSuchBucket", "403"})


@dataclass(frozen=True)
class Encryption:
    """SSE-KMS with the key, or the bucket's default encryption if there is none."""

    kms_key_id: str = ""

    @property
    def request_parameters(self) -> dict[str, Any]:
        if not self.kms_key_id:
            return {}
        return {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": self.kms_key_id, "BucketKeyEnabled": True}


class S3BlobStore:
    """The files of one bucket."""

    def __init__(self, client: S3Client, bucket: str, *, encryption: Encryption | None = None) -> None:
        self._client = client
        self._bucket = bucket
        self._encryption = (encryption or Encryption()).request_parameters

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
        """Store a file from its current position to its end.

        Returns False if the key exists and `if_none_match` is set. With `sha256`, the hexadecimal digest of
        the file, S3 rejects a small file that was damaged on the way; of a large file it checks each part.
        Raises ConfigurationError if a permission or the bucket is missing, else RetryableError.
        """
        parameters: dict[str, Any] = {
            "Bucket": self._bucket,
            "Key": key,
            "ContentType": content_type,
            "Metadata": dict(metadata or {}),
            **({"ContentDisposition": content_disposition} if content_disposition else {}),
            **({"CacheControl": cache_control} if cache_control else {}),
            **self._encryption,
        }
        condition: dict[str, Any] = {"IfNoneMatch": "*"} if if_none_match else {}
        try:
            with translate_aws_errors("store file", conflict=_CONFLICT, misconfigured=_MISCONFIGURED):
                if _count_remaining_bytes(file) <= _PART_BYTES:
                    if sha256:
                        parameters["ChecksumSHA256"] = _base64_from_hex(sha256)
                    self._client.put_object(Body=file, **parameters, **condition)
                else:
                    self._put_in_parts(file, parameters, condition)
        except ConflictError:
            return False
        return True

    def _put_in_parts(self, file: BinaryIO, parameters: dict[str, Any], condition: dict[str, Any]) -> None:
        # S3 evaluates the condition only when the upload completes; this check saves a useless upload.
        if condition and self._exists(parameters["Key"]):
            raise ConflictError("cannot store file: the key exists")
        response = self._client.create_multipart_upload(ChecksumAlgorithm="SHA256", **parameters)
        upload: dict[str, Any] = {
            "Bucket": parameters["Bucket"],
            "Key": parameters["Key"],
            "UploadId": response["UploadId"],
        }
        try:
            parts = [
                self._upload_part(upload, number, content)
                for number, content in enumerate(_read_parts(file), start=1)
            ]
            self._client.complete_multipart_upload(MultipartUpload={"Parts": parts}, **upload, **condition)
        except BaseException:
            # If this fails as well, the bucket's lifecycle rule deletes the parts.
            with contextlib.suppress(ClientError, BotoCoreError):
                self._client.abort_multipart_upload(**upload)
            raise

    def _upload_part(self, upload: dict[str, Any], number: int, content: bytes) -> CompletedPartTypeDef:
        response = self._client.upload_part(
            Body=content, PartNumber=number, ChecksumAlgorithm="SHA256", **upload
        )
        part: CompletedPartTypeDef = {"PartNumber": number, "ETag": response["ETag"]}
        if "ChecksumSHA256" in response:
            part["ChecksumSHA256"] = response["ChecksumSHA256"]
        return part

    def _exists(self, key: str) -> bool:
        try:
            self._client.head_object(Bucket=self._bucket, Key=key)
        except ClientError as error:
            # Without permission to list the bucket, S3 answers 403 for a missing key. If a permission is
            # missing, the upload itself fails.
            if get_error_code(error) in _MISSING | {"403"}:
                return False
            raise
        return True


def _count_remaining_bytes(file: BinaryIO) -> int:
    position = file.tell()
    end = file.seek(0, os.SEEK_END)
    file.seek(position)
    return end - position


def _read_parts(file: BinaryIO) -> Iterator[bytes]:
    while content := file.read(_PART_BYTES):
        yield content


def _base64_from_hex(digest: str) -> str:
    return base64.b64encode(bytes.fromhex(digest)).decode()
