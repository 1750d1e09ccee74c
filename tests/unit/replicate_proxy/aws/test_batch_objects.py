"""Objects of large batches that S3 denies access to: missing, or denied."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from replicate_proxy.aws.batch_objects import S3BatchObjects
from replicate_proxy.errors import NotFoundError, PermanentError
from tests.support.aws import stub_s3

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from botocore.stub import Stubber

KEY = "files/acme/file-1"
LIST_REQUEST = {"Bucket": "images", "Prefix": KEY, "MaxKeys": 1}


@pytest.fixture
def stubbed_objects() -> Iterator[tuple[S3BatchObjects, Stubber]]:
    """The objects, and the stub that holds S3's responses in order."""
    with stub_s3() as (client, stub):
        yield S3BatchObjects(client, "images"), stub


@pytest.mark.parametrize(
    "read", [lambda objects: objects.read(KEY), lambda objects: objects.read_range(KEY, 0, 10)]
)
def test_read_raises_not_found_when_denied_object_is_not_listed(
    stubbed_objects: tuple[S3BatchObjects, Stubber], read: Callable[[S3BatchObjects], bytes]
) -> None:
    objects, stub = stubbed_objects
    stub.add_client_error("get_object", "AccessDenied", http_status_code=403)
    stub.add_response("list_objects_v2", {"Contents": [{"Key": f"{KEY}0"}]}, LIST_REQUEST)

    with pytest.raises(NotFoundError):
        read(objects)


def test_object_does_not_exist_when_denied_and_not_listed(
    stubbed_objects: tuple[S3BatchObjects, Stubber],
) -> None:
    objects, stub = stubbed_objects
    stub.add_client_error("head_object", "403", http_status_code=403)
    stub.add_response("list_objects_v2", {}, LIST_REQUEST)

    assert not objects.exists(KEY)


@pytest.mark.parametrize(
    ("operation", "code", "call"),
    [
        ("get_object", "AccessDenied", lambda objects: objects.read(KEY)),
        ("head_object", "403", lambda objects: objects.exists(KEY)),
    ],
)
def test_denial_is_permanent_when_object_is_listed(
    stubbed_objects: tuple[S3BatchObjects, Stubber],
    operation: str,
    code: str,
    call: Callable[[S3BatchObjects], object],
) -> None:
    objects, stub = stubbed_objects
    stub.add_client_error(operation, code, http_status_code=403)
    stub.add_response("list_objects_v2", {"Contents": [{"Key": KEY}]}, LIST_REQUEST)

    with pytest.raises(PermanentError):
        call(objects)
