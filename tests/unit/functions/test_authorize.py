"""The authorizer's sample events through its handler, with the key store on moto."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from functions.authorize import app
from replicate_proxy.aws.clients import get_fail_fast_client
from replicate_proxy.aws.key_store import DynamoKeyStore
from replicate_proxy.clock import parse_timestamp
from tests.support.aws import ACCESS_TABLE
from tests.support.clock import NOW
from tests.support.handlers import CONTEXT, aws_account, load_event, store_sample_key
from tests.support.loopback import discard, serve_http
from tools.template.stack import load_stack

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with aws_account(monkeypatch):
        yield


def authorize(name: str) -> dict[str, Any]:
    response: dict[str, Any] = app.lambda_handler(load_event(f"authorize/{name}"), CONTEXT)
    return response


@pytest.mark.parametrize("name", ["api_key", "token_scheme"])
def test_valid_key_is_allowed_and_described(name: str) -> None:
    store_sample_key(allowed_models=("acme/one",))
    response = authorize(name)
    assert response["context"] == {
        "tenant": "acme",
        "key_id": "sample234567",
        "scopes": "files:write predictions:read predictions:write",
        "models": "acme/one",
    }
    assert response["policyDocument"]["Statement"][0]["Effect"] == "Allow"


def test_use_of_key_is_recorded() -> None:
    key = store_sample_key()
    authorize("api_key")
    stored = DynamoKeyStore(boto3.client("dynamodb"), ACCESS_TABLE).get(key.id)
    assert stored is not None
    assert stored.last_used_at is not None


@pytest.mark.parametrize("name", ["no_credential", "two_credentials", "json_web_token"])
def test_missing_credential_raises_exception_that_api_gateway_turns_into_401(name: str) -> None:
    store_sample_key()
    with pytest.raises(Exception, match=r"^Unauthorized$") as raised:
        authorize(name)
    assert type(raised.value) is Exception


def test_unknown_and_revoked_keys_are_unauthorized() -> None:
    with pytest.raises(Exception, match=r"^Unauthorized$"):
        authorize("api_key")
    store_sample_key(revoked_at=NOW)
    with pytest.raises(Exception, match=r"^Unauthorized$"):
        authorize("api_key")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"expires_at": parse_timestamp("2020-01-01T00:00:00Z")}, "The API key has expired"),
        ({"allowed_ips": ("198.51.100.0/24",)}, "The API key does not allow this address"),
    ],
)
def test_expired_key_and_foreign_address_are_denied(changes: dict[str, Any], reason: str) -> None:
    store_sample_key(**changes)
    response = authorize("api_key")
    assert response["policyDocument"]["Statement"][0]["Effect"] == "Deny"
    assert response["context"]["reason"] == reason


def test_unavailable_key_store_is_neither_unauthorized_nor_denied(capsys: pytest.CaptureFixture[str]) -> None:
    boto3.client("dynamodb").delete_table(TableName=ACCESS_TABLE)
    with pytest.raises(Exception, match="read API key") as raised:
        authorize("api_key")
    assert str(raised.value) != "Unauthorized"
    assert '"AuthUnavailable":[1.0]' in capsys.readouterr().out


def test_cached_key_is_accepted_in_time_while_the_table_does_not_answer() -> None:
    """Neither the read nor the record of the use gets a response. Lambda ends the process at its timeout."""
    store_sample_key()
    authorize("api_key")
    timeout = load_stack().resources["AuthorizeFunction"].properties["Timeout"]
    is_over = threading.Event()
    with serve_http(lambda _: discard(is_over.wait(60))) as silent:
        get_fail_fast_client()._endpoint.host = silent.url("")  # type: ignore[attr-defined] # no public name
        start = time.monotonic()
        response = authorize("api_key")
        seconds = time.monotonic() - start
        is_over.set()
    assert response["context"]["tenant"] == "acme"
    assert seconds < timeout - 1


def test_unauthorized_caller_does_not_count_as_outage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Exception, match=r"^Unauthorized$"):
        authorize("api_key")
    assert "AuthUnavailable" not in capsys.readouterr().out


def test_unavailable_secret_is_neither_unauthorized_nor_denied(monkeypatch: pytest.MonkeyPatch) -> None:
    store_sample_key()
    monkeypatch.setenv("SIGNING_SECRET_ARN", "arn:aws:secretsmanager:eu-central-1:123456789012:secret:gone")
    with pytest.raises(Exception, match="find the specified secret"):
        authorize("api_key")
