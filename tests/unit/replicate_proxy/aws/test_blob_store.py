"""The store of output files, on moto."""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError
from botocore.stub import Stubber
from moto import mock_aws

from replicate_proxy.aws.blob_store import Encryption, S3BlobStore
from replicate_proxy.errors import ConfigurationError, RetryableError
from tests.support.aws import make_failing_client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from types_boto3_s3 import S3Client

BUCKET = "images"
KEY = "outputs/a/b.webp"
PART_BYTES = 8 * 1024 * 1024
SMALL = 5
LARGE = 20 * 1024 * 1024


@pytest.fixture
def s3() -> Iterator[S3Client]:
    with mock_aws():
        client = boto3.client("s3")
        client.create_bucket(Bucket=BUCKET)
        yield client


def put(store: S3BlobStore, content: bytes, **options: Any) -> bool:
    digest = hashlib.sha256(content).hexdigest()
    return store.put_file(KEY, io.BytesIO(content), content_type="image/webp", sha256=digest, **options)


@pytest.mark.parametrize("size", [0, SMALL, PART_BYTES, LARGE])
def test_put_file_stores_content_and_headers(s3: S3Client, size: int) -> None:
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)

    assert put(
        S3BlobStore(s3, BUCKET),
        content,
        content_disposition='inline; filename="b.webp"',
        cache_control="public, max-age=1",
        metadata={"sha256": "ab"},
    )

    stored = s3.get_object(Bucket=BUCKET, Key=KEY)
    assert stored["Body"].read() == content
    assert stored["ContentType"] == "image/webp"
    assert stored["ContentDisposition"] == 'inline; filename="b.webp"'
    assert stored["CacheControl"] == "public, max-age=1"
    assert stored["Metadata"] == {"sha256": "ab"}


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_put_file_keeps_existing_object(s3: S3Client, size: int) -> None:
    store = S3BlobStore(s3, BUCKET)
    put(store, b"a" * size)

    assert not put(store, b"b" * size)
    assert s3.get_object(Bucket=BUCKET, Key=KEY)["Body"].read(1) == b"a"
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=BUCKET)


def test_put_file_replaces_existing_object_without_condition(s3: S3Client) -> None:
    store = S3BlobStore(s3, BUCKET)
    put(store, b"a")

    assert put(store, b"b", if_none_match=False)
    assert s3.get_object(Bucket=BUCKET, Key=KEY)["Body"].read() == b"b"


def test_put_file_begins_at_current_position(s3: S3Client) -> None:
    store, file = S3BlobStore(s3, BUCKET), io.BytesIO(b"headbody")
    file.seek(4)

    store.put_file("k", file, content_type="text/plain")

    assert s3.get_object(Bucket=BUCKET, Key="k")["Body"].read() == b"body"


def test_multipart_upload_reads_one_part_at_a_time(s3: S3Client) -> None:
    class RecordingFile(io.BytesIO):
        """A file that records the largest read."""

        max_read = 0

        def read(self, size: int | None = -1) -> bytes:
            self.max_read = max(self.max_read, LARGE if size in {None, -1} else int(size or 0))
            return super().read(size)

    file = RecordingFile(b"x" * LARGE)
    S3BlobStore(s3, BUCKET).put_file("big", file, content_type="video/mp4")

    assert file.max_read == PART_BYTES
    assert s3.head_object(Bucket=BUCKET, Key="big")["ContentLength"] == LARGE


def test_failed_multipart_upload_is_aborted(s3: S3Client, monkeypatch: pytest.MonkeyPatch) -> None:
    upload_part = s3.upload_part

    def fail_on_second_part(**parameters: Any) -> Any:
        if parameters["PartNumber"] == 2:
            raise ClientError({"Error": {"Code": "SlowDown"}}, "UploadPart")
        return upload_part(**parameters)

    monkeypatch.setattr(s3, "upload_part", fail_on_second_part)

    with pytest.raises(RetryableError):
        put(S3BlobStore(s3, BUCKET), b"a" * LARGE)
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=BUCKET)


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_put_file_encrypts_with_kms_key(s3: S3Client, size: int) -> None:
    put(S3BlobStore(s3, BUCKET, encryption=Encryption("alias/ours")), b"a" * size)

    stored = s3.head_object(Bucket=BUCKET, Key=KEY)
    assert stored["ServerSideEncryption"] == "aws:kms"
    assert stored["SSEKMSKeyId"].endswith("alias/ours")


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("SlowDown", RetryableError),
        ("InternalError", RetryableError),
        ("RequestTimeout", RetryableError),
        ("BadDigest", RetryableError),
        ("ConditionalRequestConflict", RetryableError),
        ("AccessDenied", ConfigurationError),
        ("NoSuchBucket", ConfigurationError),
    ],
)
def test_put_file_translates_error_code(code: str, error: type[Exception]) -> None:
    client = boto3.client("s3")
    with Stubber(client) as stub:
        stub.add_client_error("put_object", code)
        with pytest.raises(error):
            put(S3BlobStore(client, BUCKET), b"a")


def test_put_file_raises_retryable_error_when_s3_is_unreachable() -> None:
    client = make_failing_client(ConnectTimeoutError(endpoint_url="https://s3"))
    with pytest.raises(RetryableError):
        put(S3BlobStore(client, BUCKET), b"a")
