"""A document that S3 will not hand out: gone, or out of reach for now?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.stub import Stubber

from replicate_proxy.aws.document_store import S3DocumentStore
from replicate_proxy.errors import NotFoundError, RetryableError

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "records/acme/job-1/input.json"
ASKED = {"Bucket": "images", "Prefix": KEY, "MaxKeys": 1}


@pytest.fixture
def s3() -> Iterator[tuple[S3DocumentStore, Stubber]]:
    """A store, and S3's answers to it in their order."""
    client: Any = boto3.client(
        "s3", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x"
    )
    with Stubber(client) as answers:
        yield S3DocumentStore(client, "images"), answers
        answers.assert_no_pending_responses()


def test_a_refusal_of_what_the_bucket_does_not_list_is_a_document_that_is_gone(
    s3: tuple[S3DocumentStore, Stubber],
) -> None:
    store, answers = s3
    answers.add_client_error("get_object", "AccessDenied", http_status_code=403)
    answers.add_response("list_objects_v2", {"Contents": [{"Key": f"{KEY}.bak"}]}, ASKED)

    with pytest.raises(NotFoundError):
        store.read(KEY)


def test_a_refusal_of_what_is_there_passes(s3: tuple[S3DocumentStore, Stubber]) -> None:
    store, answers = s3
    answers.add_client_error("get_object", "AccessDenied", http_status_code=403)
    answers.add_response("list_objects_v2", {"Contents": [{"Key": KEY}]}, ASKED)

    with pytest.raises(RetryableError):
        store.read(KEY)


@pytest.mark.parametrize("code", ["AccessDenied", "SlowDown"])
def test_a_refusal_proves_nothing_where_the_list_is_refused_too(
    s3: tuple[S3DocumentStore, Stubber], code: str
) -> None:
    store, answers = s3
    answers.add_client_error("get_object", "AccessDenied", http_status_code=403)
    answers.add_client_error("list_objects_v2", code)

    with pytest.raises(RetryableError):
        store.read(KEY)


@pytest.mark.parametrize("code", ["SlowDown", "InternalError", "NoSuchBucket"])
def test_other_trouble_is_tried_again_without_looking(s3: tuple[S3DocumentStore, Stubber], code: str) -> None:
    store, answers = s3
    answers.add_client_error("get_object", code)

    with pytest.raises(RetryableError):
        store.read(KEY)
