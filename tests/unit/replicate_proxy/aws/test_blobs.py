"""The S3 adapter on moto."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError
from botocore.stub import Stubber
from moto import mock_aws

from replicate_proxy.aws.blob_store import Encryption, S3BlobStore
from replicate_proxy.errors import ConfigurationError, RetryableError

BUCKET = "images"
LARGE = 20 * 1024 * 1024


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket=BUCKET)
        yield client


def put(store: S3BlobStore, content: bytes, key: str = "outputs/a/b.webp", **options: Any) -> bool:
    digest = hashlib.sha256(content).hexdigest()
    return store.put_file(key, io.BytesIO(content), content_type="image/webp", sha256=digest, **options)


@pytest.mark.parametrize("size", [0, 5, 8 * 1024 * 1024, LARGE])
def test_a_file_arrives_whole_with_its_headers(s3: Any, size: int) -> None:
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)

    assert put(
        S3BlobStore(s3, BUCKET),
        content,
        content_disposition='inline; filename="b.webp"',
        cache_control="public, max-age=1",
        metadata={"sha256": "ab"},
    )

    stored = s3.get_object(Bucket=BUCKET, Key="outputs/a/b.webp")
    assert stored["Body"].read() == content
    assert stored["ContentType"] == "image/webp"
    assert stored["ContentDisposition"] == 'inline; filename="b.webp"'
    assert stored["CacheControl"] == "public, max-age=1"
    assert stored["Metadata"] == {"sha256": "ab"}


@pytest.mark.parametrize("size", [5, LARGE])
def test_a_repeat_writes_nothing(s3: Any, size: int) -> None:
    store = S3BlobStore(s3, BUCKET)
    put(store, b"a" * size)

    assert not put(store, b"b" * size)
    assert s3.get_object(Bucket=BUCKET, Key="outputs/a/b.webp")["Body"].read(1) == b"a"
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=BUCKET)


def test_a_repeat_may_be_made_to_replace(s3: Any) -> None:
    store = S3BlobStore(s3, BUCKET)
    put(store, b"a")

    assert put(store, b"b", if_none_match=False)
    assert s3.get_object(Bucket=BUCKET, Key="outputs/a/b.webp")["Body"].read() == b"b"


def test_a_file_is_read_from_where_it_stands(s3: Any) -> None:
    store, file = S3BlobStore(s3, BUCKET), io.BytesIO(b"headbody")
    file.seek(4)

    store.put_file("k", file, content_type="text/plain")

    assert s3.get_object(Bucket=BUCKET, Key="k")["Body"].read() == b"body"


def test_an_upload_in_parts_holds_one_part_in_memory(s3: Any) -> None:
    class Endless(io.BytesIO):
        """A file that notes how much was asked for at once."""

        largest = 0

        def read(self, size: int | None = -1) -> bytes:
            self.largest = max(self.largest, LARGE if size in {None, -1} else int(size or 0))
            return super().read(size)

    file = Endless(b"x" * LARGE)
    S3BlobStore(s3, BUCKET).put_file("big", file, content_type="video/mp4")

    assert file.largest == 8 * 1024 * 1024
    assert s3.head_object(Bucket=BUCKET, Key="big")["ContentLength"] == LARGE


def test_an_upload_that_fails_half_way_is_taken_back(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real = s3.upload_part

    def fail_on_second(**arguments: Any) -> Any:
        if arguments["PartNumber"] == 2:
            raise ClientError({"Error": {"Code": "SlowDown"}}, "UploadPart")
        return real(**arguments)

    monkeypatch.setattr(s3, "upload_part", fail_on_second)

    with pytest.raises(RetryableError):
        put(S3BlobStore(s3, BUCKET), b"a" * LARGE)
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=BUCKET)


@pytest.mark.parametrize("size", [5, LARGE])
def test_a_named_key_encrypts(s3: Any, size: int) -> None:
    put(S3BlobStore(s3, BUCKET, encryption=Encryption("alias/ours")), b"a" * size)

    stored = s3.head_object(Bucket=BUCKET, Key="outputs/a/b.webp")
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
def test_what_s3_says_tells_what_to_do_next(code: str, error: type[Exception]) -> None:
    client = boto3.client("s3", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    with Stubber(client) as stub:
        stub.add_client_error("put_object", code)
        with pytest.raises(error):
            put(S3BlobStore(client, BUCKET), b"a")


def test_an_unreachable_s3_may_come_back() -> None:
    class Dead:
        def put_object(self, **_: Any) -> None:
            raise ConnectTimeoutError(endpoint_url="https://s3")

    with pytest.raises(RetryableError):
        put(S3BlobStore(Dead(), BUCKET), b"a")
