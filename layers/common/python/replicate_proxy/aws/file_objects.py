"""The content of input files in S3."""

from __future__ import annotations

import base64
import hashlib
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import quote

from replicate_proxy.aws.errors import translate_aws_errors
from replicate_proxy.errors import NotFoundError
from replicate_proxy.files.multipart import UploadedPart
from replicate_proxy.files.ports import ObjectMetadata, PartUpload, UploadForm

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

    from types_boto3_s3 import S3Client

    from replicate_proxy.files.model import StoredFile
    from replicate_proxy.files.multipart import MultipartUpload


_MD5_HEX_DIGITS = 32
# Without permission to list the bucket, S3 answers 403 for a missing object (HeadObject, Permissions).
_MISSING = frozenset({"403", "404"})
_ENDED_UPLOAD = frozenset({"NoSuchUpload"})
_RETRYABLE = frozenset({"SlowDown"})


class S3FileObjects:
    """The FileObjects port on one bucket.

    `client` must sign with version 4 for the bucket's region (see aws/clients.py), as URLs and forms require.
    """

    def __init__(self, client: S3Client, bucket: str, *, upload_client: S3Client | None = None) -> None:
        """`upload_client` signs forms and parts, where these use another host (transfer acceleration)."""
        self._client = client
        self._bucket = bucket
        self._upload_client = upload_client or client

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

    def create_download_url(self, file: StoredFile, *, lifetime: timedelta, method: str = "GET") -> str:
        parameters = {
            "Bucket": self._bucket,
            "Key": file.object_key,
            "ResponseContentType": file.content_type,
            "ResponseContentDisposition": f"attachment; filename*=UTF-8''{quote(file.name, safe='')}",
        }
        return self._client.generate_presigned_url(
            "head_object" if method == "HEAD" else "get_object",
            Params=parameters,
            ExpiresIn=int(lifetime.total_seconds()),
        )

    def create_upload_form(
        self, file: StoredFile, *, allowed_sizes: range, lifetime: timedelta
    ) -> UploadForm:
        form = self._upload_client.generate_presigned_post(
            self._bucket,
            file.object_key,
            Fields={"Content-Type": file.content_type},
            Conditions=[
                {"Content-Type": file.content_type},
                ["content-length-range", allowed_sizes.start, allowed_sizes.stop - 1],
            ],
            ExpiresIn=int(lifetime.total_seconds()),
        )
        return UploadForm(url=form["url"], fields=form["fields"])

    def start_multipart_upload(self, file: StoredFile) -> str:
        with translate_aws_errors("start upload", retryable=_RETRYABLE):
            return self._client.create_multipart_upload(
                Bucket=self._bucket, Key=file.object_key, ContentType=file.content_type
            )["UploadId"]

    def create_part_upload(
        self, key: str, upload: MultipartUpload, number: int, *, lifetime: timedelta
    ) -> PartUpload:
        size_bytes = upload.part_sizes[number]
        # The length becomes a signed header: S3 rejects a request with another one.
        parameters = {
            "Bucket": self._bucket,
            "Key": key,
            "UploadId": upload.id,
            "PartNumber": number,
            "ContentLength": size_bytes,
        }
        url = self._upload_client.generate_presigned_url(
            "upload_part", Params=parameters, ExpiresIn=int(lifetime.total_seconds())
        )
        return PartUpload(number, size_bytes, url)

    def list_parts(self, key: str, upload: MultipartUpload) -> Mapping[int, UploadedPart]:
        # One page has up to 1,000 parts, ten times as many as an upload has.
        with translate_aws_errors("list parts", not_found=_ENDED_UPLOAD, retryable=_RETRYABLE):
            response = self._client.list_parts(Bucket=self._bucket, Key=key, UploadId=upload.id)
        return {
            part["PartNumber"]: UploadedPart(part["Size"], part["ETag"]) for part in response.get("Parts", [])
        }

    def complete_multipart_upload(
        self, key: str, upload: MultipartUpload, parts: Mapping[int, UploadedPart]
    ) -> None:
        with translate_aws_errors("complete upload", not_found=_ENDED_UPLOAD, retryable=_RETRYABLE):
            self._client.complete_multipart_upload(
                Bucket=self._bucket,
                Key=key,
                UploadId=upload.id,
                MultipartUpload={
                    "Parts": [{"PartNumber": number, "ETag": part.etag} for number, part in parts.items()]
                },
            )

    def abort_multipart_upload(self, key: str, upload: MultipartUpload) -> None:
        with (
            suppress(NotFoundError),
            translate_aws_errors("abort upload", not_found=_ENDED_UPLOAD, retryable=_RETRYABLE),
        ):
            self._client.abort_multipart_upload(Bucket=self._bucket, Key=key, UploadId=upload.id)
