"""Objects that S3 denies access to because they are missing."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from replicate_proxy.aws.errors import get_error_code
from replicate_proxy.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from types_boto3_s3 import S3Client

# Of GetObject, and of HeadObject, whose response has no body.
_DENIED = frozenset({"AccessDenied", "403"})


@contextmanager
def recognize_missing(client: S3Client, bucket: str, key: str) -> Iterator[None]:
    """Raise NotFoundError if a request of the block is denied and the bucket certainly holds no such object.

    S3 denies access to a missing object if the role may not list the whole bucket (GetObject, Permissions),
    but also if a role or key policy is wrong, which an operator will correct. Listing is allowed below the
    prefixes of what is read so, and as up to date as reading (S3 user guide, data consistency model).
    """
    try:
        yield
    except ClientError as error:
        if get_error_code(error) in _DENIED and _is_missing(client, bucket, key):
            raise NotFoundError("cannot read object: it is gone") from error
        raise


def _is_missing(client: S3Client, bucket: str, key: str) -> bool:
    try:
        listing = client.list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1)
    except (ClientError, BotoCoreError):
        return False
    return all(entry["Key"] != key for entry in listing.get("Contents", ()))
