"""The bytes of files in S3."""

from __future__ import annotations

import base64
import hashlib
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from botocore.exceptions import BotoCoreError, ClientError

from replicate_proxy.errors import PermanentError, RetryableError
from replicate_proxy.files.model import ObjectFacts, UploadForm

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import timedelta

    from replicate_proxy.files.model import StoredFile


_MD5_DIGITS = 32


class S3FileObjects:
    """FileObjects on one bucket. `client` signs with version 4 for the bucket's region; see aws.presigner."""

    def __init__(self, client: Any, bucket: str, *, upload_url: str | None = None) -> None:
        """`upload_url` replaces the address of upload forms (transfer acceleration), which is not signed."""
        self._client = client
        self._bucket = bucket
        self._upload_url = upload_url

    def put(self, file: StoredFile, content: bytes) -> None:
        with _translated("storing a file"):
            self._client.put_object(
                Bucket=self._bucket,
                Key=file.key,
                Body=content,
                ContentType=file.content_type,
                ContentMD5=base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode(),
            )

    def facts(self, key: str) -> ObjectFacts | None:
        try:
            with _translated("looking at a file"):
                head = self._client.head_object(Bucket=self._bucket, Key=key)
        except FileNotFoundError:
            return None
        # The ETag of an object encrypted with a key of the customer's is not its MD5 (S3 documentation,
        # Object).
        etag = head["ETag"].strip('"')
        plain = head.get("ServerSideEncryption") in {None, "AES256"} and len(etag) == _MD5_DIGITS
        return ObjectFacts(size=head["ContentLength"], md5=etag if plain else None)

    def delete(self, key: str) -> None:
        with _translated("deleting a file"):
            self._client.delete_object(Bucket=self._bucket, Key=key)

    def download_url(self, file: StoredFile, *, lifetime: timedelta) -> str:
        wanted = {
            "Bucket": self._bucket,
            "Key": file.key,
            "ResponseContentType": file.content_type,
            "ResponseContentDisposition": f"attachment; filename*=UTF-8''{quote(file.name, safe='')}",
        }
        return str(
            self._client.generate_presigned_url(
                "get_object", Params=wanted, ExpiresIn=int(lifetime.total_seconds())
            )
        )

    def upload_form(self, file: StoredFile, *, sizes: range, lifetime: timedelta) -> UploadForm:
        form = self._client.generate_presigned_post(
            self._bucket,
            file.key,
            Fields={"Content-Type": file.content_type},
            Conditions=[
                {"Content-Type": file.content_type},
                ["content-length-range", sizes.start, sizes.stop - 1],
            ],
            ExpiresIn=int(lifetime.total_seconds()),
        )
        return UploadForm(url=self._upload_url or form["url"], fields=form["fields"])


@contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        # Without the right to list a bucket, S3 says 403 for an object that is not there (HeadObject,
        # Permissions).
        if status == HTTPStatus.NOT_FOUND or (
            status == HTTPStatus.FORBIDDEN and error.operation_name == "HeadObject"
        ):
            raise FileNotFoundError(what) from error
        code = error.response.get("Error", {}).get("Code", "")
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or code == "SlowDown":
            raise RetryableError(f"{what}: {code}") from error
        raise PermanentError(f"{what}: {code}") from error
    except BotoCoreError as error:
        raise RetryableError(f"{what}: {type(error).__name__}") from error
