"""Files' bytes in S3: what forms and addresses allow, as moto and botocore's own policy document say."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
import requests
from botocore.config import Config
from botocore.exceptions import ClientError, ReadTimeoutError
from moto import mock_aws

from replicate_proxy.aws.file_objects import S3FileObjects
from replicate_proxy.errors import PermanentError, RetryableError
from replicate_proxy.files.model import StoredFile
from tests.support.access import set_aws_environment
from tests.support.clock import NOW

FILE = StoredFile(
    "01j" + "0" * 23, "acme", 'a"ä.png', "image/png", NOW, NOW + timedelta(hours=24), size_bytes=3
)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Any:
    set_aws_environment(monkeypatch)
    with mock_aws():
        client: Any = boto3.client("s3", config=Config(signature_version="s3v4"))
        client.create_bucket(
            Bucket="images", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
        )
        yield client


@pytest.fixture
def objects(s3: Any) -> S3FileObjects:
    return S3FileObjects(s3, "images")


def test_stored_bytes_are_found_with_size_and_md5(objects: S3FileObjects) -> None:
    objects.put(FILE, b"cat")
    facts = objects.get_metadata(FILE.object_key)
    assert facts is not None
    assert (facts.size_bytes, facts.md5) == (3, hashlib.md5(b"cat").hexdigest())  # noqa: S324 - S3's own


def test_what_is_not_there_has_no_facts_and_is_deleted_without_complaint(objects: S3FileObjects) -> None:
    assert objects.get_metadata(FILE.object_key) is None
    objects.delete(FILE.object_key)


def test_a_download_is_an_attachment_for_a_while(objects: S3FileObjects) -> None:
    objects.put(FILE, b"cat")
    url = objects.create_download_url(FILE, lifetime=MINUTE)
    query = parse_qs(urlsplit(url).query)
    assert query["X-Amz-Expires"] == ["60"]
    reply = requests.get(url, timeout=5)
    assert reply.content == b"cat"
    assert reply.headers["content-type"] == "image/png"
    assert reply.headers["content-disposition"] == "attachment; filename*=UTF-8''a%22%C3%A4.png"


def test_a_form_fixes_key_type_and_size(objects: S3FileObjects) -> None:
    form = objects.create_upload_form(FILE, allowed_sizes=range(1, 1001), lifetime=MINUTE)
    conditions = json.loads(base64.b64decode(form.fields["policy"]))["conditions"]
    assert {"key": FILE.object_key} in conditions
    assert {"bucket": "images"} in conditions
    assert {"Content-Type": "image/png"} in conditions
    assert ["content-length-range", 1, 1000] in conditions


def test_a_form_takes_a_file(objects: S3FileObjects) -> None:
    form = objects.create_upload_form(FILE, allowed_sizes=range(1, 1001), lifetime=MINUTE)
    reply = requests.post(form.url, data=dict(form.fields), files={"file": b"cat"}, timeout=5)
    assert reply.ok
    facts = objects.get_metadata(FILE.object_key)
    assert facts is not None
    assert facts.size_bytes == 3


def test_forms_go_to_the_accelerated_address_where_there_is_one(s3: Any) -> None:
    objects = S3FileObjects(s3, "images", upload_url="https://images.s3-accelerate.amazonaws.com/")
    form = objects.create_upload_form(FILE, allowed_sizes=range(1, 2), lifetime=MINUTE)
    assert form.url == "https://images.s3-accelerate.amazonaws.com/"


def test_the_etag_of_an_object_under_a_customers_key_is_not_taken_for_its_md5() -> None:
    class Bucket:
        def head_object(self, **_: Any) -> dict[str, Any]:
            return {"ETag": f'"{"a" * 32}"', "ContentLength": 3, "ServerSideEncryption": "aws:kms"}

    facts = S3FileObjects(Bucket(), "images").get_metadata("x")
    assert facts is not None
    assert facts.md5 is None


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ReadTimeoutError(endpoint_url="https://x"), RetryableError),
        (ClientError({"Error": {"Code": "SlowDown"}}, "HeadObject"), RetryableError),
        (ClientError({"ResponseMetadata": {"HTTPStatusCode": 500}}, "HeadObject"), RetryableError),  # type: ignore[typeddict-item] # the rest is not looked at
        (ClientError({"Error": {"Code": "AccessDenied"}}, "HeadObject"), PermanentError),
    ],
)
def test_failures_say_whether_to_try_again(error: Exception, expected: type[Exception]) -> None:
    class Bucket:
        def head_object(self, **_: Any) -> None:
            raise error

    with pytest.raises(expected):
        S3FileObjects(Bucket(), "images").get_metadata("x")
