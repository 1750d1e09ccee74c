"""Documents that S3 denies access to: missing, or denied for now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from replicate_proxy.aws.document_store import S3DocumentStore
from replicate_proxy.errors import NotFoundError, RetryableError
from tests.support.aws import stub_s3

if TYPE_CHECKING:
    from collections.abc import Iterator

    from botocore.stub import Stubber

KEY = "records/acme/job-1/input.json"
LIST_REQUEST = {"Bucket": "images", "Prefix": KEY, "MaxKeys": 1}


@pytest.fixture
def stubbed_store() -> Iterator[tuple[S3DocumentStore, Stubber]]:
    """A store, and the stub that holds S3's responses to it in order."""
    with stub_s3() as (client, stub):
        yield S3DocumentStore(lambda: client, "images"), stub


def test_read_raises_not_found_when_denied_object_is_not_listed(
    stubbed_store: tuple[S3DocumentStore, Stubber],
) -> None:
    store, stub = stubbed_store
    stub.add_client_error("get_object", "AccessDenied", http_status_code=403)
    stub.add_response("list_objects_v2", {"Contents": [{"Key": f"{KEY}.bak"}]}, LIST_REQUEST)

    with pytest.raises(NotFoundError):
        store.read(KEY)


def test_read_raises_retryable_error_when_denied_object_is_listed(
    stubbed_store: tuple[S3DocumentStore, Stubber],
) -> None:
    store, stub = stubbed_store
    stub.add_client_error("get_object", "AccessDenied", http_status_code=403)
    stub.add_response("list_objects_v2", {"Contents": [{"Key": KEY}]}, LIST_REQUEST)

    with pytest.raises(RetryableError):
        store.read(KEY)


@pytest.mark.parametrize("code", ["AccessDenied", "SlowDown"])
def test_read_raises_retryable_error_when_listing_fails(
    stubbed_store: tuple[S3DocumentStore, Stubber], code: str
) -> None:
    store, stub = stubbed_store
    stub.add_client_error("get_object", "AccessDenied", http_status_code=403)
    stub.add_client_error("list_objects_v2", code)

    with pytest.raises(RetryableError):
        store.read(KEY)


@pytest.mark.parametrize("code", ["SlowDown", "InternalError", "NoSuchBucket"])
def test_read_does_not_list_after_other_errors(
    stubbed_store: tuple[S3DocumentStore, Stubber], code: str
) -> None:
    store, stub = stubbed_store
    stub.add_client_error("get_object", code)

    with pytest.raises(RetryableError):
        store.read(KEY)
