"""JSON documents that belong to a job: inline in its record if small, in S3 if large."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from replicate_proxy.aws.errors import translate_aws_errors
from replicate_proxy.aws.missing_objects import recognize_missing
from replicate_proxy.jobs.model import Document

if TYPE_CHECKING:
    from collections.abc import Callable

    from types_boto3_s3 import S3Client


# A job is saved about six times, and DynamoDB charges each save by the size of the whole item. An object is
# written once, which is cheaper beyond about 4 kB (docs/costs.md).
MAX_INLINE_BYTES = 4096
_DIGEST_DIGITS = 32
_MISSING = frozenset({"NoSuchKey", "404"})


class S3DocumentStore:
    """The DocumentStore port, and objects by key for reports that are too large for an event.

    Documents are stored under `records/<tenant>/<job>/<name>.json`; saving one again overwrites it.
    """

    def __init__(
        self, get_client: Callable[[], S3Client], bucket: str, *, max_inline_bytes: int = MAX_INLINE_BYTES
    ) -> None:
        """`get_client` is called for large documents only: most functions never have one to read or write."""
        self._get_client = get_client
        self._bucket = bucket
        self._max_inline_bytes = max_inline_bytes

    def save(self, tenant: str, job_id: str, name: str, value: Any) -> Document:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        body = text.encode("utf-8", "surrogatepass")
        if len(body) <= self._max_inline_bytes:
            return Document(text=text)
        key = self.put(f"records/{tenant}/{job_id}/{name}.json", body)
        return Document(object_key=key, digest=hashlib.sha256(body).hexdigest()[:_DIGEST_DIGITS])

    def load(self, document: Document | None) -> Any:
        if document is None:
            return None
        if document.object_key is None:
            return json.loads(document.text or "null")
        return json.loads(self.read(document.object_key))

    def put(self, key: str, body: bytes) -> str:
        """Write a JSON object and return its key. Raises RetryableError."""
        with translate_aws_errors(f"store {key.partition('/')[0]}"):
            self._get_client().put_object(
                Bucket=self._bucket, Key=key, Body=body, ContentType="application/json"
            )
        return key

    def read(self, key: str) -> bytes:
        """Return the bytes of an object. Raises NotFoundError if it is gone, else RetryableError."""
        with translate_aws_errors("read document", not_found=_MISSING):
            client = self._get_client()
            with recognize_missing(client, self._bucket, key):
                return client.get_object(Bucket=self._bucket, Key=key)["Body"].read()
