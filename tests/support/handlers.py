"""What handlers need to run as in Lambda: sample events, a context, and an AWS account on moto."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from moto import mock_aws

from replicate_proxy import signing
from replicate_proxy.auth.keys import ApiKey, ApiKeySecret
from replicate_proxy.aws.key_store import DynamoKeyStore
from tests.support.access import make_key
from tests.support.aws import (
    ACCESS_TABLE,
    AUDIT_TABLE,
    USAGE_TABLE,
    create_access_table,
    create_audit_table,
    create_usage_table,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

ROOT_SECRET = "r" * 64
SAMPLE_KEY = ApiKeySecret("sample234567", "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefg")
_EVENTS = Path(__file__).parents[2] / "events"
_QUEUES = ("dispatch", "batch-dispatch", "track", "harvest", "notify")
_ONLY_DEAD_LETTER_QUEUES = ("bus", "notify-stream", "sweep")


@dataclass(frozen=True)
class LambdaContext:
    """The attributes of a Lambda context that Powertools reads."""

    function_name: str = "function"
    memory_limit_in_mb: int = 512
    invoked_function_arn: str = "arn:aws:lambda:eu-central-1:123456789012:function:function"
    aws_request_id: str = "request"

    def get_remaining_time_in_millis(self) -> int:
        return 29_000


CONTEXT: Any = LambdaContext()


def load_event(name: str) -> dict[str, Any]:
    """Return the sample event `events/<name>.json`."""
    event: dict[str, Any] = json.loads((_EVENTS / f"{name}.json").read_text(encoding="utf-8"))
    return event


@contextmanager
def aws_account(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Provide an account with tables, bucket, queues and signing secret, and set the variables.

    The objects that functions cache for the life of a process are dropped before and after.
    """
    with mock_aws():
        create_access_table()
        create_usage_table()
        create_audit_table()
        boto3.client("s3").create_bucket(Bucket="images")
        secret = boto3.client("secretsmanager").create_secret(Name="signing", SecretString=ROOT_SECRET)
        variables = {
            "ACCESS_TABLE": ACCESS_TABLE,
            "USAGE_TABLE": USAGE_TABLE,
            "AUDIT_TABLE": AUDIT_TABLE,
            "IMAGES_BUCKET": "images",
            "SIGNING_SECRET_ARN": secret["ARN"],
            **_create_queues(),
        }
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        clear_caches()
        yield
    clear_caches()


def store_sample_key(**changes: Any) -> ApiKey:
    """Store the API key of the sample events in the access table."""
    key, _ = make_key(
        id=SAMPLE_KEY.key_id,
        digest=SAMPLE_KEY.compute_digest(signing.derive_key(ROOT_SECRET.encode(), "api-keys")),
        **changes,
    )
    DynamoKeyStore(boto3.client("dynamodb"), ACCESS_TABLE).create(key)
    return key


def clear_caches() -> None:
    """Drop the objects that functions cache for the life of a process, but keep their clients.

    A client costs much, and moto gives it an empty account in each test.
    """
    _clear_caches("replicate_proxy.bootstrap.")


def clear_clients() -> None:
    """Drop the clients, so that others are created for the region that is now in the environment."""
    _clear_caches("replicate_proxy.aws.clients")


def _clear_caches(prefix: str) -> None:
    for name, module in list(sys.modules.items()):
        if name.startswith(prefix):
            for function in vars(module).values():
                getattr(function, "cache_clear", lambda: None)()


def _create_queues() -> dict[str, str]:
    """Return the environment variables with the URLs of the queues."""
    sqs = boto3.client("sqs")
    urls = {name: sqs.create_queue(QueueName=name)["QueueUrl"] for name in _QUEUES}
    for name in (*_QUEUES, *_ONLY_DEAD_LETTER_QUEUES):
        sqs.create_queue(QueueName=f"{name}-dead-letters")
    return {
        **{f"{name.replace('-', '_').upper()}_QUEUE_URL": url for name, url in urls.items()},
        "QUEUES_PREFIX": urls["dispatch"].removesuffix("dispatch"),
    }
