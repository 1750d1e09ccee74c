"""Files in S3: small ones whole, large ones in parts at constant memory, repeats recognised by the bucket."""

from __future__ import annotations

import base64
import contextlib
import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from botocore.exceptions import BotoCoreError, ClientError

from replicate_proxy.errors import ConfigurationError, RetryableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


# S3: parts of at least 5 MiB, at most 10,000 of them: 8 MiB reaches 80 GB.
_PART_BYTES = 8 * 1024 * 1024
_NOT_THERE = frozenset({"NoSuchKey", "NotFound", "404"})
_TAKEN = frozenset({"PreconditionFailed", "412"})
_CONFIGURATION = frozenset({"AccessDenied", "NoSuchBucket", "AllAccessDisabled", "InvalidBucketName", "403"})


@dataclass(frozen=True)
class Encryption:
    """The bucket's own default where no key is named, SSE-KMS with a bucket key where one is."""

    kms_key_id: str = ""

    @property
    def request_parameters(self) -> dict[str, Any]:
        if not self.kms_key_id:
            return {}
        return {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": self.kms_key_id, "BucketKeyEnabled": True}


class S3BlobStore:
    """One bucket. Raises RetryableError where S3 is unwell, ConfigurationError where a permission or bucket
    is missing.
    """

    def __init__(self, client: Any, bucket: str, *, encryption: Encryption | None = None) -> None:
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
        """Stores a file from its current position to its end; memory is that of one part, whatever its size.

        False when `if_none_match` and the key was taken. `sha256` (hex) of the whole lets S3 refuse damaged
        bytes; a file in parts is checked part by part instead.
        """
        headers: dict[str, Any] = {
            "Bucket": self._bucket,
            "Key": key,
            "ContentType": content_type,
            "Metadata": dict(metadata or {}),
            **({"ContentDisposition": content_disposition} if content_disposition else {}),
            **({"CacheControl": cache_control} if cache_control else {}),
            **self._encryption,
        }
        condition = {"IfNoneMatch": "*"} if if_none_match else {}
        try:
            with _translated():
                if _remaining(file) <= _PART_BYTES:
                    checksum = {"ChecksumSHA256": _base64(sha256)} if sha256 else {}
                    self._client.put_object(Body=file, **headers, **checksum, **condition)
                else:
                    self._put_in_parts(file, headers, condition)
        except _TakenError:
            return False
        return True

    def _put_in_parts(self, file: BinaryIO, headers: dict[str, Any], condition: dict[str, str]) -> None:
        if condition and self._exists(headers["Key"]):
            # The condition is only judged when the upload completes; this saves sending it all again.
            raise _TakenError
        upload = self._client.create_multipart_upload(ChecksumAlgorithm="SHA256", **headers)
        where = {"Bucket": headers["Bucket"], "Key": headers["Key"], "UploadId": upload["UploadId"]}
        try:
            parts = [self._part(where, number, piece) for number, piece in enumerate(_pieces(file), start=1)]
            self._client.complete_multipart_upload(MultipartUpload={"Parts": parts}, **where, **condition)
        except BaseException:
            # The bucket's lifecycle rule removes what cannot be aborted now.
            with contextlib.suppress(ClientError, BotoCoreError):
                self._client.abort_multipart_upload(**where)
            raise

    def _part(self, where: dict[str, str], number: int, piece: bytes) -> dict[str, Any]:
        reply = self._client.upload_part(Body=piece, PartNumber=number, ChecksumAlgorithm="SHA256", **where)
        part = {"PartNumber": number, "ETag": reply["ETag"]}
        if "ChecksumSHA256" in reply:
            part["ChecksumSHA256"] = reply["ChecksumSHA256"]
        return part

    def _exists(self, key: str) -> bool:
        try:
            self._client.head_object(Bucket=self._bucket, Key=key)
        except ClientError as error:
            # Without s3:ListBucket a missing key answers 403: then the upload itself finds out.
            if _code(error) in _NOT_THERE | {"403"}:
                return False
            raise
        return True


class _TakenError(Exception):
    """The key exists; only known inside this module."""


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        code = _code(error)
        if code in _TAKEN:
            raise _TakenError from error
        if code in _CONFIGURATION:
            raise ConfigurationError(f"S3 refuses access ({code})") from error
        raise RetryableError(f"S3 answered {code}") from error
    except BotoCoreError as error:
        raise RetryableError("S3 could not be reached") from error


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _remaining(file: BinaryIO) -> int:
    at = file.tell()
    end = file.seek(0, os.SEEK_END)
    file.seek(at)
    return end - at


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(_PART_BYTES):
        yield piece


def _base64(digest: str) -> str:
    return base64.b64encode(bytes.fromhex(digest)).decode()
