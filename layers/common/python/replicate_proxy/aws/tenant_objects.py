"""The objects of a tenant under one prefix of the bucket, for its erasure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy.aws.errors import translate_aws_errors
from replicate_proxy.aws.object_remover import S3ObjectRemover
from replicate_proxy.operations.erasure.model import ErasurePage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from types_boto3_s3 import S3Client

# Their keys are stored with the progress, in an item of at most 400 kB; a key has about 200 bytes.
_PAGE_SIZE = 500


class S3TenantObjects:
    """The TenantPlace port. `build_prefix` returns the prefix of a tenant's keys, with its slash."""

    def __init__(self, client: S3Client, bucket: str, kind: str, build_prefix: Callable[[str], str]) -> None:
        self._client = client
        self._bucket = bucket
        self._kind = kind
        self._build_prefix = build_prefix

    def read(self, tenant: str, cursor: str | None, *, is_last_pass: bool) -> ErasurePage:  # noqa: ARG002 - the interface
        prefix = self._build_prefix(tenant)
        with translate_aws_errors("list objects of tenant"):
            listing = self._client.list_objects_v2(
                Bucket=self._bucket, Prefix=prefix, StartAfter=cursor or prefix, MaxKeys=_PAGE_SIZE
            )
        keys = tuple(entry["Key"] for entry in listing.get("Contents", ()))
        is_truncated = bool(keys) and listing.get("IsTruncated", False)
        return ErasurePage(keys, (self._kind,) * len(keys), keys[-1] if is_truncated else None)

    def remove(self, items: Sequence[str]) -> None:
        S3ObjectRemover(self._client, self._bucket).remove_keys(list(items))
