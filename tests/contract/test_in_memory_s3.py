"""The simulation's S3 gives the responses and errors of moto, and carries the adapters."""

from __future__ import annotations

import base64
import hashlib
import io
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from replicate_proxy.aws.blob_store import S3BlobStore
from replicate_proxy.aws.file_objects import S3FileObjects
from replicate_proxy.files.model import StoredFile
from tests.support.aws_pair import ClientPair, outcome
from tests.support.clock import NOW
from tools.simulation.aws import InMemoryAws

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.simulation.aws.s3_objects import StoredObject

BUCKET = "bucket"
BODY = b"body"
ETAG = f'"{hashlib.md5(BODY, usedforsecurity=False).hexdigest()}"'
OTHER_MD5 = base64.b64encode(hashlib.md5(b"other", usedforsecurity=False).digest()).decode()
PART_BYTES = 5 * 1024 * 1024


@pytest.fixture(scope="module")
def clients() -> Iterator[ClientPair]:
    with mock_aws():
        aws = InMemoryAws(NOW.timestamp)
        aws.s3.create_bucket(BUCKET)
        moto = boto3.client("s3")
        moto.create_bucket(Bucket=BUCKET)
        yield ClientPair(aws.client("s3"), moto)


@pytest.fixture
def s3(clients: ClientPair) -> ClientPair:
    """Both clients, with one object in the bucket."""
    for client in (clients.simulated, clients.moto):
        for entry in client.list_objects_v2(Bucket=BUCKET).get("Contents", ()):
            client.delete_object(Bucket=BUCKET, Key=entry["Key"])
        client.put_object(
            Bucket=BUCKET, Key="a/1", Body=BODY, ContentType="text/plain", Metadata={"width": "7"}
        )
    return clients


@pytest.mark.parametrize(
    ("operation", "request_"),
    [
        ("put_object", {"Key": "a/2", "Body": BODY, "IfNoneMatch": "*"}),
        ("put_object", {"Key": "a/1", "Body": BODY, "IfNoneMatch": "*"}),
        ("put_object", {"Key": "a/1", "Body": BODY, "IfMatch": ETAG}),
        ("head_object", {"Key": "a/1"}),
        ("head_object", {"Key": "missing"}),
        ("delete_object", {"Key": "a/1"}),
        ("delete_object", {"Key": "missing"}),
        ("delete_objects", {"Delete": {"Objects": [{"Key": "a/1"}, {"Key": "missing"}]}}),
        ("get_object", {"Key": "missing"}),
        ("get_object", {"Key": "missing", "Range": "bytes=0-1"}),
        ("get_object", {"Key": "a/1", "Range": "bytes=4-9"}),
        ("abort_multipart_upload", {"Key": "a/2", "UploadId": "none"}),
    ],
)
def test_operation_has_the_result_of_moto(s3: ClientPair, operation: str, request_: dict[str, Any]) -> None:
    simulated = outcome(s3.simulated, operation, {"Bucket": BUCKET, **request_})
    moto = outcome(s3.moto, operation, {"Bucket": BUCKET, **request_})
    assert simulated.get("code") == moto.get("code")
    assert simulated.get("status") == moto.get("status")
    for name in ("ETag", "ContentLength", "ContentType", "Metadata", "Deleted"):
        assert simulated.get(name) == moto.get(name)


@pytest.mark.parametrize(
    ("operation", "request_", "code"),
    [
        # API reference, DeleteObjects: a quiet response holds the errors only; moto lists all keys.
        ("delete_objects", {"Delete": {"Objects": [{"Key": "a/1"}], "Quiet": True}}, None),
        # API reference, "Error responses"; moto checks no digest.
        ("put_object", {"Key": "a/2", "Body": BODY, "ContentMD5": OTHER_MD5}, "BadDigest"),
        # API reference, UploadPart; moto fails.
        ("upload_part", {"Key": "a/2", "UploadId": "none", "PartNumber": 1, "Body": BODY}, "NoSuchUpload"),
    ],
)
def test_operation_has_the_result_of_aws_where_moto_differs(
    s3: ClientPair, operation: str, request_: dict[str, Any], code: str | None
) -> None:
    result = outcome(s3.simulated, operation, {"Bucket": BUCKET, **request_})
    assert (result.get("code"), result.get("Deleted")) == (code, None)


def test_object_is_read_as_from_moto(s3: ClientPair) -> None:
    simulated, moto = (client.get_object(Bucket=BUCKET, Key="a/1") for client in (s3.simulated, s3.moto))
    assert simulated["Body"].read() == moto["Body"].read() == BODY
    for name in ("ContentLength", "ContentType", "ETag", "Metadata"):
        assert simulated[name] == moto[name]


@pytest.mark.parametrize(("range_", "expected"), [("bytes=0-1", b"bo"), ("bytes=2-99", b"dy")])
def test_range_is_read_as_from_moto(s3: ClientPair, range_: str, expected: bytes) -> None:
    simulated, moto = (
        client.get_object(Bucket=BUCKET, Key="a/1", Range=range_) for client in (s3.simulated, s3.moto)
    )
    assert simulated["Body"].read() == moto["Body"].read() == expected
    for name in ("ContentLength", "ContentRange", "ETag"):
        assert simulated[name] == moto[name]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"Prefix": "a/"},
        {"Prefix": "a/1"},
        {"Prefix": "b"},
        {"MaxKeys": 2},
        {"Prefix": "a/", "MaxKeys": 1},
        {"StartAfter": "a/1"},
    ],
)
def test_keys_are_listed_as_by_moto(s3: ClientPair, options: dict[str, Any]) -> None:
    for client in (s3.simulated, s3.moto):
        for key in ("a/2", "a/10", "c"):
            client.put_object(Bucket=BUCKET, Key=key, Body=b"x")
    simulated, moto = (client.list_objects_v2(Bucket=BUCKET, **options) for client in (s3.simulated, s3.moto))
    for name in ("IsTruncated", "KeyCount", "MaxKeys"):
        assert simulated[name] == moto[name]
    listed = [
        [(entry["Key"], entry["Size"]) for entry in page.get("Contents", ())] for page in (simulated, moto)
    ]
    assert listed[0] == listed[1]


def test_listing_continues_with_its_token(s3: ClientPair) -> None:
    s3.simulated.put_object(Bucket=BUCKET, Key="a/2", Body=b"x")
    page = s3.simulated.list_objects_v2(Bucket=BUCKET, MaxKeys=1)
    page = s3.simulated.list_objects_v2(Bucket=BUCKET, ContinuationToken=page["NextContinuationToken"])
    assert [entry["Key"] for entry in page["Contents"]] == ["a/2"]


def test_missing_bucket_has_the_error_of_moto(s3: ClientPair) -> None:
    for operation in ("put_object", "get_object", "list_objects_v2"):
        key = {} if operation == "list_objects_v2" else {"Key": "a"}
        results = [
            outcome(client, operation, {"Bucket": "missing", **key}) for client in (s3.simulated, s3.moto)
        ]
        assert [result["code"] for result in results] == ["NoSuchBucket"] * 2


class TestMultipartUpload:
    def upload(self, client: Any, bodies: list[bytes], **options: Any) -> dict[str, Any]:
        """Upload the parts and return the request that completes the upload."""
        upload = {"Bucket": BUCKET, "Key": "large"}
        upload["UploadId"] = client.create_multipart_upload(**upload, ContentType="image/png")["UploadId"]
        parts = [
            {"PartNumber": number, "ETag": client.upload_part(**upload, PartNumber=number, Body=body)["ETag"]}
            for number, body in enumerate(bodies, start=1)
        ]
        return {**upload, "MultipartUpload": {"Parts": parts}, **options}

    def test_parts_become_one_object_as_in_moto(self, s3: ClientPair) -> None:
        bodies = [b"a" * PART_BYTES, b"b"]
        results = []
        for client in (s3.simulated, s3.moto):
            client.complete_multipart_upload(**self.upload(client, bodies))
            read = client.get_object(Bucket=BUCKET, Key="large")
            results.append((read["Body"].read(), read["ETag"], read["ContentType"]))
        assert results[0] == results[1]
        assert results[0][0] == b"".join(bodies)

    @pytest.mark.parametrize("fault", ["small part", "wrong tag", "no parts", "existing key"])
    def test_upload_that_cannot_be_completed_has_the_error_of_moto(self, s3: ClientPair, fault: str) -> None:
        codes = []
        for client in (s3.simulated, s3.moto):
            if fault == "existing key":
                client.put_object(Bucket=BUCKET, Key="large", Body=b"x")
            first = b"a" if fault == "small part" else b"a" * PART_BYTES
            request = self.upload(client, [first, b"b"])
            parts = request["MultipartUpload"]["Parts"]
            if fault == "wrong tag":
                parts[0]["ETag"] = OTHER_MD5
            elif fault == "no parts":
                parts.clear()
            elif fault == "existing key":
                request["IfNoneMatch"] = "*"
            codes.append(outcome(client, "complete_multipart_upload", request).get("code"))
        assert codes[0] == codes[1]
        assert codes[0] is not None

    def test_parts_in_wrong_order_are_refused(self, s3: ClientPair) -> None:
        """API reference, CompleteMultipartUpload: InvalidPartOrder; moto looks at the sizes first."""
        request = self.upload(s3.simulated, [b"a", b"b"])
        request["MultipartUpload"]["Parts"].reverse()
        with pytest.raises(ClientError, match="InvalidPartOrder"):
            s3.simulated.complete_multipart_upload(**request)

    def test_aborted_upload_cannot_be_completed(self, s3: ClientPair) -> None:
        request = self.upload(s3.simulated, [b"a"])
        upload = {name: request[name] for name in ("Bucket", "Key", "UploadId")}
        s3.simulated.abort_multipart_upload(**upload)
        with pytest.raises(ClientError, match="NoSuchUpload"):
            s3.simulated.complete_multipart_upload(**request)


def test_checksum_of_body_is_verified(s3: ClientPair) -> None:
    digest = base64.b64encode(hashlib.sha256(BODY).digest()).decode()
    s3.simulated.put_object(Bucket=BUCKET, Key="a/2", Body=BODY, ChecksumSHA256=digest)
    with pytest.raises(ClientError, match="BadDigest"):
        s3.simulated.put_object(Bucket=BUCKET, Key="a/2", Body=b"damaged", ChecksumSHA256=digest)


def test_file_is_read_once_for_repeated_performs() -> None:
    """The SDK rewinds a file before it repeats a request."""
    aws = InMemoryAws(NOW.timestamp)
    aws.s3.create_bucket(BUCKET)

    def perform_twice(_: Any, perform: Any) -> Any:
        perform()
        return perform()

    aws.gate = perform_twice
    aws.client("s3").put_object(Bucket=BUCKET, Key="a", Body=io.BytesIO(BODY))
    assert aws.s3.objects(BUCKET)["a"].body == BODY


def test_observer_sees_old_and_new_object() -> None:
    aws = InMemoryAws(NOW.timestamp)
    aws.s3.create_bucket(BUCKET)
    seen: list[tuple[str, bytes | None, bytes | None]] = []
    aws.s3.observe(BUCKET, lambda key, old, new: seen.append((key, read_body(old), read_body(new))))
    aws.client("s3").put_object(Bucket=BUCKET, Key="a", Body=b"1")
    aws.client("s3").put_object(Bucket=BUCKET, Key="a", Body=b"2")
    aws.client("s3").delete_object(Bucket=BUCKET, Key="a")
    assert seen == [("a", None, b"1"), ("a", b"1", b"2"), ("a", b"2", None)]


def read_body(stored: StoredObject | None) -> bytes | None:
    return stored.body if stored else None


@pytest.mark.parametrize("size", [10, 9 * 1024 * 1024])
def test_adapter_stores_small_and_large_files_once(s3: ClientPair, size: int) -> None:
    store = S3BlobStore(s3.simulated, BUCKET)
    content = b"z" * size
    digest = hashlib.sha256(content).hexdigest()
    options: Any = {"content_type": "image/png", "metadata": {"width": "1"}, "sha256": digest}
    assert store.put_file("outputs/x", io.BytesIO(content), **options)
    assert not store.put_file("outputs/x", io.BytesIO(b"other"), **{**options, "sha256": None})
    read = s3.simulated.get_object(Bucket=BUCKET, Key="outputs/x")
    assert (read["Body"].read(), read["ContentType"], read["Metadata"]) == (
        content,
        "image/png",
        {"width": "1"},
    )


def test_adapter_signs_urls_and_forms_deterministically(s3: ClientPair) -> None:
    objects = S3FileObjects(s3.simulated, BUCKET)
    file = StoredFile(
        id="f1",
        tenant="acme",
        name="ä.png",
        content_type="image/png",
        created_at=NOW,
        expires_at=NOW + timedelta(days=1),
        size_bytes=None,
        checksums={},
        metadata={},
    )
    objects.put(file, BODY)
    metadata = objects.get_metadata(file.object_key)
    assert metadata is not None
    assert (metadata.size_bytes, metadata.md5) == (len(BODY), ETAG.strip('"'))
    urls = {objects.create_download_url(file, lifetime=timedelta(minutes=5)) for _ in range(2)}
    assert len(urls) == 1
    form = objects.create_upload_form(file, allowed_sizes=range(1, 100), lifetime=timedelta(minutes=5))
    assert form.fields["key"] == file.object_key
    objects.delete(file.object_key)
    assert objects.get_metadata(file.object_key) is None


def test_what_is_not_handled_is_refused(s3: ClientPair) -> None:
    with pytest.raises(NotImplementedError):
        s3.simulated.put_object(Bucket=BUCKET, Key="a", Body=b"", ACL="public-read")
    with pytest.raises(NotImplementedError):
        s3.simulated.get_object(Bucket=BUCKET, Key="a/1", Range="bytes=-1")
    with pytest.raises(NotImplementedError):
        s3.simulated.copy_object(Bucket=BUCKET, Key="a", CopySource="b/c")
