"""The content of files in S3, on moto: storage, download URLs and upload forms."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import timedelta
from typing import TYPE_CHECKING
from unittest.mock import Mock
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
import requests
from botocore.config import Config
from botocore.exceptions import ClientError, ReadTimeoutError
from moto import mock_aws

from replicate_proxy.aws.clients import get_presigning_client
from replicate_proxy.aws.file_objects import S3FileObjects
from replicate_proxy.errors import NotFoundError, PermanentError, RetryableError
from replicate_proxy.files.model import StoredFile
from replicate_proxy.files.multipart import MultipartUpload
from tests.support.aws import make_client_error, make_failing_client
from tests.support.clock import NOW
from tests.support.handlers import clear_clients

if TYPE_CHECKING:
    from collections.abc import Iterator

    from types_boto3_s3 import S3Client

FILE = StoredFile(
    "01j" + "0" * 23, "acme", 'a"ä.png', "image/png", NOW, NOW + timedelta(hours=24), size_bytes=3
)
MINUTE = timedelta(minutes=1)
MEBIBYTE = 1024 * 1024
UPLOAD = MultipartUpload("u", 6 * MEBIBYTE, 5 * MEBIBYTE)


@pytest.fixture
def s3() -> Iterator[S3Client]:
    with mock_aws():
        client = boto3.client("s3", config=Config(signature_version="s3v4"))
        client.create_bucket(Bucket="images")
        yield client


@pytest.fixture
def objects(s3: S3Client) -> S3FileObjects:
    return S3FileObjects(s3, "images")


def test_stored_object_has_size_and_md5(objects: S3FileObjects) -> None:
    objects.put(FILE, b"cat")
    metadata = objects.get_metadata(FILE.object_key)
    assert metadata is not None
    assert (metadata.size_bytes, metadata.md5) == (3, hashlib.md5(b"cat").hexdigest())  # noqa: S324 - the checksum of S3


def test_missing_object_has_no_metadata_and_can_be_deleted(objects: S3FileObjects) -> None:
    assert objects.get_metadata(FILE.object_key) is None
    objects.delete(FILE.object_key)


def test_download_url_expires_and_serves_attachment(objects: S3FileObjects) -> None:
    objects.put(FILE, b"cat")
    url = objects.create_download_url(FILE, lifetime=MINUTE)
    query = parse_qs(urlsplit(url).query)
    assert query["X-Amz-Expires"] == ["60"]
    response = requests.get(url, timeout=5)
    assert response.content == b"cat"
    assert response.headers["content-type"] == "image/png"
    assert response.headers["content-disposition"] == "attachment; filename*=UTF-8''a%22%C3%A4.png"


def test_download_url_for_head_serves_the_same_headers(objects: S3FileObjects) -> None:
    objects.put(FILE, b"cat")
    url = objects.create_download_url(FILE, lifetime=MINUTE, method="HEAD")
    # Not read: the fake server sends no body, but `requests` would wait for one.
    response = requests.head(url, timeout=5, stream=True)
    assert response.status_code == 200
    assert response.headers["content-length"] == "3"


def test_upload_form_fixes_key_content_type_and_size(objects: S3FileObjects) -> None:
    form = objects.create_upload_form(FILE, allowed_sizes=range(1, 1001), lifetime=MINUTE)
    conditions = json.loads(base64.b64decode(form.fields["policy"]))["conditions"]
    assert {"key": FILE.object_key} in conditions
    assert {"bucket": "images"} in conditions
    assert {"Content-Type": "image/png"} in conditions
    assert ["content-length-range", 1, 1000] in conditions


def test_upload_form_uploads_file(objects: S3FileObjects) -> None:
    form = objects.create_upload_form(FILE, allowed_sizes=range(1, 1001), lifetime=MINUTE)
    response = requests.post(form.url, data=dict(form.fields), files={"file": b"cat"}, timeout=5)
    assert response.ok
    metadata = objects.get_metadata(FILE.object_key)
    assert metadata is not None
    assert metadata.size_bytes == 3


def test_forms_and_parts_use_upload_client_when_set(s3: S3Client) -> None:
    config = Config(signature_version="s3v4", s3={"use_accelerate_endpoint": True})
    objects = S3FileObjects(s3, "images", upload_client=boto3.client("s3", config=config))
    form = objects.create_upload_form(FILE, allowed_sizes=range(1, 2), lifetime=MINUTE)
    part = objects.create_part_upload(FILE.object_key, UPLOAD, 1, lifetime=MINUTE)
    assert form.url == "https://images.s3-accelerate.amazonaws.com/"
    assert part.url.startswith(f"https://images.s3-accelerate.amazonaws.com/{FILE.object_key}?")
    assert "s3-accelerate" not in objects.create_download_url(FILE, lifetime=MINUTE)


def start_upload(objects: S3FileObjects) -> MultipartUpload:
    """Start an upload of 6 MiB in two parts: 5 MiB, the least that S3 accepts, and 1 MiB."""
    return MultipartUpload(objects.start_multipart_upload(FILE), 6 * MEBIBYTE, 5 * MEBIBYTE)


def send_part(objects: S3FileObjects, upload: MultipartUpload, number: int, content: bytes) -> None:
    part = objects.create_part_upload(FILE.object_key, upload, number, lifetime=MINUTE)
    assert requests.put(part.url, data=content, timeout=5).ok


def test_parts_become_one_object_of_the_announced_type(objects: S3FileObjects, s3: S3Client) -> None:
    upload = start_upload(objects)
    send_part(objects, upload, 2, b"b" * MEBIBYTE)
    send_part(objects, upload, 1, b"a" * 5 * MEBIBYTE)
    parts = objects.list_parts(FILE.object_key, upload)
    assert {number: part.size_bytes for number, part in parts.items()} == upload.part_sizes

    objects.complete_multipart_upload(FILE.object_key, upload, dict(sorted(parts.items())))

    metadata = objects.get_metadata(FILE.object_key)
    assert metadata is not None
    assert (metadata.size_bytes, metadata.md5) == (6 * MEBIBYTE, None)
    assert s3.head_object(Bucket="images", Key=FILE.object_key)["ContentType"] == "image/png"


def test_part_url_expires_and_signs_the_size(objects: S3FileObjects) -> None:
    part = objects.create_part_upload(FILE.object_key, UPLOAD, 2, lifetime=MINUTE)
    query = parse_qs(urlsplit(part.url).query)
    assert query["X-Amz-Expires"] == ["60"]
    assert query["partNumber"] == ["2"]
    assert query["X-Amz-SignedHeaders"] == ["content-length;host"]
    assert not [name for name in query if "checksum" in name.lower()]


def test_aborted_upload_does_not_exist(objects: S3FileObjects) -> None:
    upload = start_upload(objects)
    send_part(objects, upload, 1, b"a")
    objects.abort_multipart_upload(FILE.object_key, upload)
    objects.abort_multipart_upload(FILE.object_key, upload)
    with pytest.raises(NotFoundError):
        objects.list_parts(FILE.object_key, upload)
    assert objects.get_metadata(FILE.object_key) is None


@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1"])
def test_presigning_client_names_the_region_and_starts_uploads_without_checksum(
    monkeypatch: pytest.MonkeyPatch, region: str
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", region)
    clear_clients()
    client = get_presigning_client()
    part = S3FileObjects(client, "images").create_part_upload("files/x", UPLOAD, 1, lifetime=MINUTE)
    assert part.url.startswith(f"https://images.s3.{region}.amazonaws.com/files/x?")
    assert client.meta.config.request_checksum_calculation == "when_required"  # type: ignore[attr-defined] # untyped
    clear_clients()


def test_object_encrypted_with_kms_has_no_md5() -> None:
    response = {"ETag": f'"{"a" * 32}"', "ContentLength": 3, "ServerSideEncryption": "aws:kms"}
    client = Mock(head_object=Mock(return_value=response))
    metadata = S3FileObjects(client, "images").get_metadata("x")
    assert metadata is not None
    assert metadata.md5 is None


@pytest.mark.parametrize(
    ("error", "expected_class"),
    [
        (ReadTimeoutError(endpoint_url="https://x"), RetryableError),
        (make_client_error("SlowDown"), RetryableError),
        (ClientError({"ResponseMetadata": {"HTTPStatusCode": 500}}, "HeadObject"), RetryableError),  # type: ignore[typeddict-item] # the rest is not looked at
        (make_client_error("AccessDenied"), PermanentError),
    ],
)
def test_get_metadata_translates_aws_errors(error: Exception, expected_class: type[Exception]) -> None:
    with pytest.raises(expected_class):
        S3FileObjects(make_failing_client(error), "images").get_metadata("x")
