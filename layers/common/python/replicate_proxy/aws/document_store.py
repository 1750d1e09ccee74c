"""JSON values kept with a job: inline while small, as an object in S3 once large.

A job is saved about six times in its life and DynamoDB charges each save by the item's whole size, while an
object is written once: beyond about 4 kB the object is cheaper (docs/costs.md).
"""

from __future__ import annotations

import json
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from replicate_proxy.errors import NotFoundError, RetryableError
from replicate_proxy.jobs.model import Document

MAX_INLINE_BYTES = 4096


class S3DocumentStore:
    """The DocumentStore port. Objects lie under `records/<tenant>/<job>/<name>.json`; a repeat overwrites
    itself.
    """

    def __init__(self, s3: Any, bucket: str, *, max_inline_bytes: int = MAX_INLINE_BYTES) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._inline_bytes = max_inline_bytes

    def save(self, tenant: str, job_id: str, name: str, value: Any) -> Document:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        body = text.encode("utf-8", "surrogatepass")
        if len(body) <= self._inline_bytes:
            return Document(text=text)
        return Document(object_key=self.put(f"records/{tenant}/{job_id}/{name}.json", body))

    def put(self, key: str, body: bytes) -> str:
        """Writes a JSON object under the key and gives the key back."""
        try:
            self._s3.put_object(Bucket=self._bucket, Key=key, Body=body, ContentType="application/json")
        except (ClientError, BotoCoreError) as error:
            raise RetryableError(f"store {key.partition('/')[0]}: {type(error).__name__}") from error
        return key

    def load(self, document: Document | None) -> Any:
        if document is None:
            return None
        if document.object_key is None:
            return json.loads(document.text or "null")
        return json.loads(self.read(document.object_key))

    def read(self, key: str) -> bytes:
        """The object's bytes. Raises NotFoundError where it is gone."""
        try:
            return bytes(self._s3.get_object(Bucket=self._bucket, Key=key)["Body"].read())
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code")
            if code in {"NoSuchKey", "404"} or (code == "AccessDenied" and self._unlisted(key)):
                raise NotFoundError("the stored document is gone") from error
            raise RetryableError(f"read stored document: {type(error).__name__}") from error
        except BotoCoreError as error:
            raise RetryableError(f"read stored document: {type(error).__name__}") from error

    def _unlisted(self, key: str) -> bool:
        """Whether the bucket says that it holds no such object.

        A 403 does not say so: S3 gives it for a missing object to who may not list the bucket (GetObject,
        Permissions), but also for a role or key policy gone wrong, which will be mended. The list below our
        own prefixes tells the two apart, and is as current as a read (S3 user guide, data consistency model).
        """
        try:
            listed = self._s3.list_objects_v2(Bucket=self._bucket, Prefix=key, MaxKeys=1)
        except (ClientError, BotoCoreError):
            return False
        return all(found["Key"] != key for found in listed.get("Contents", ()))
