"""Remove all objects with a prefix from the bucket."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy.aws.errors import translate_aws_errors
from replicate_proxy.errors import RetryableError

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client


class S3ObjectRemover:
    """The ObjectRemover port. A page of the list has as many keys as one request can delete: 1,000."""

    def __init__(self, client: S3Client, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def remove_all(self, prefix: str) -> int:
        if not prefix.endswith("/"):
            # It would be the prefix of others' keys as well.
            raise ValueError(f"prefix without a slash at its end: {prefix}")
        removed = 0
        while True:
            with translate_aws_errors("list objects"):
                listing = self._client.list_objects_v2(Bucket=self._bucket, Prefix=prefix)
            keys = [entry["Key"] for entry in listing.get("Contents", ())]
            if keys:
                self.remove_keys(keys)
                removed += len(keys)
            if not listing.get("IsTruncated"):
                return removed

    def remove_keys(self, keys: list[str]) -> None:
        """Remove at most 1,000 objects. Raises RetryableError if some were not removed."""
        with translate_aws_errors("delete objects"):
            response = self._client.delete_objects(
                Bucket=self._bucket, Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True}
            )
        # Errors of single objects come with status 200 (Amazon S3 API Reference, DeleteObjects).
        if errors := response.get("Errors"):
            codes = sorted({error.get("Code", "") for error in errors})
            raise RetryableError(f"cannot delete {len(errors)} objects: {', '.join(codes)}")
