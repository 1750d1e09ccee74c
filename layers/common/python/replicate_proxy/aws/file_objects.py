"""The content of input files in S3."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING
from urllib.parse import quote

from replicate_proxy.aws.errors import translate_aws_errors
from replicate_proxy.errors import NotFoundError
from replicate_proxy.files.ports import ObjectMetadata, UploadForm

if TYPE_CHECKING:
    from datetime import timedelta

    from types_boto3_s3 import S3Client

    from replicate_proxy.files.model import StoredFile


_MD5_HEX_DIGITS = 32
# Without permission to list the bucket, S3 answers 403 for a missing object (HeadObject, Permissions).
_MISSING = frozenset({"403", "404"})
_RETRYABLE = frozenset({"SlowDown"})


class S3FileObjects:
    """The FileObjects port on one bucket.

    `client` must sign with version 4 for the bucket's region (see aws/clients.py), as URLs and forms require.
    """

    def __init__(self, client: S3Client, bucket: str, *, upload_url: str | None = None) -> None:
        """Set `upload_url` to let forms use transfer acceleration; the URL is not part of the signature."""
        self._client = client
        self._bucket = bucket
        self._upload_url = upload_url

    def put(self, file: StoredFile, content: bytes) -> None:
        md5 = hashlib.md5(content, usedforsecurity=False).digest()
        with translate_aws_errors("store file", retryable=_RETRYABLE):
            self._client.put_object(
                Bucket=self._bucket,
                Key=file.object_key,
                Body=content,
                ContentType=file.content_type,
                ContentMD5=base64.b64encode(md5).decode(),
            )

    def get_metadata(self, key: str) -> ObjectMetadata | None:
        try:
            with translate_aws_errors("read file metadata", not_found=_MISSING, retryable=_RETRYABLE):
                response = self._client.head_object(Bucket=self._bucket, Key=key)
        except NotFoundError:
            return None
        etag = response["ETag"].strip('"')
        # The ETag is not the MD5 if the object is encrypted with a KMS key (S3 API Reference, Object).
        has_md5_etag = (
            response.get("ServerSideEncryption") in {None, "AES256"} and len(etag) == _MD5_HEX_DIGITS
        )
        return ObjectMetadata(size_bytes=response["ContentLength"], md5=etag if has_md5_etag else None)

    def delete(self, key: str) -> None:
        with translate_aws_errors("delete file", retryable=_RETRYABLE):
            self._client.delete_object(Bucket=self._bucket, Key=key)

    def create_download_url(self, file: StoredFile, *, lifetime: timedelta) -> str:
        parameters = {
            "Bucket": self._bucket,
            "Key": file.object_key,
            "ResponseContentType": file.content_type,
            "ResponseContentDisposition": f"attachment; filename*=UTF-8''{quote(file.name, safe='')}",
        }
        return self._client.generate_presigned_url(
            "get_object", Params=parameters, ExpiresIn=int(lifetime.total_seconds())
        )

    def create_upload_form(
        self, file: StoredFile, *, allowed_sizes: range, lifetime: timedelta
    ) -> UploadForm:
        form = self._client.generate_presigned_post(
            self._bucket,
            file.object_key,
            Fields={"Content-Type": file.content_type},
            Conditions=[
                {"Content-Type": file.content_type},
                ["content-length-range", allowed_sizes.start, allowed_sizes.stop - 1],
            ],
            ExpiresIn=int(lifetime.total_seconds()),
        )
        return UploadForm(url=self._upload_url or form["url"], fields=form["fields"])
