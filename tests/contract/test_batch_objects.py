"""The contract of BatchObjects, for the fake and for S3 (moto)."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import boto3
import pytest
from moto import mock_aws

from replicate_proxy.aws.batch_objects import S3BatchObjects
from replicate_proxy.batches.results import PART_BYTES
from replicate_proxy.errors import NotFoundError
from tests.support.batches import FakeBatchObjects

if TYPE_CHECKING:
    from collections.abc import Iterator

    from replicate_proxy.batches.ports import BatchObjects

KEY = "batches/acme/b/results.jsonl"


@pytest.fixture(params=["fake", "moto"])
def objects(request: pytest.FixtureRequest) -> Iterator[BatchObjects]:
    if request.param == "fake":
        yield FakeBatchObjects()
        return
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket="bucket")
        yield S3BatchObjects(client, "bucket")


def test_ranges_are_read_and_end_with_the_object(objects: BatchObjects) -> None:
    objects.put("files/acme/f", b"0123456789")
    assert objects.read_range("files/acme/f", 0, 4) == b"0123"
    assert objects.read_range("files/acme/f", 8, 100) == b"89"
    assert objects.read("files/acme/f") == b"0123456789"


def test_missing_objects_are_not_found(objects: BatchObjects) -> None:
    with pytest.raises(NotFoundError):
        objects.read("x")
    with pytest.raises(NotFoundError):
        objects.read_range("x", 0, 10)
    assert not objects.exists("x")


def test_range_after_the_end_is_not_found(objects: BatchObjects) -> None:
    objects.put("files/acme/f", b"0123456789")
    with pytest.raises(NotFoundError):
        objects.read_range("files/acme/f", 10, 4)


def test_parts_become_one_object_also_if_one_is_repeated(objects: BatchObjects) -> None:
    upload = objects.start_upload(KEY)
    first = objects.upload_part(KEY, upload, 1, b"a" * PART_BYTES)
    objects.upload_part(KEY, upload, 2, b"lost")
    second = objects.upload_part(KEY, upload, 2, b"bc")
    objects.complete_upload(KEY, upload, [first, second])

    assert objects.exists(KEY)
    assert objects.read(KEY) == b"a" * PART_BYTES + b"bc"
    # S3 may answer a repetition like the first request.
    with suppress(NotFoundError):
        objects.complete_upload(KEY, upload, [first, second])
    assert len(objects.read(KEY)) == PART_BYTES + 2


def test_upload_with_a_part_that_was_replaced_later_is_not_completed(objects: BatchObjects) -> None:
    upload = objects.start_upload(KEY)
    part = objects.upload_part(KEY, upload, 1, b"saved")
    objects.upload_part(KEY, upload, 1, b"late")

    with pytest.raises(NotFoundError):
        objects.complete_upload(KEY, upload, [part])
    assert not objects.exists(KEY)


def test_empty_part_is_an_empty_object(objects: BatchObjects) -> None:
    upload = objects.start_upload(KEY)
    objects.complete_upload(KEY, upload, [objects.upload_part(KEY, upload, 1, b"")])
    assert objects.read(KEY) == b""
