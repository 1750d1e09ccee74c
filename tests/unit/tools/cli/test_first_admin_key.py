"""The first_admin_key command, on moto."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import boto3
import pytest

from replicate_proxy import signing
from replicate_proxy.auth.keys import ApiKeySecret, KeyStatus, verify_key
from replicate_proxy.auth.principal import DEFAULT_SCOPES, Scope
from replicate_proxy.aws.key_store import DynamoKeyStore
from tests.support.access import FakeKeyStore, deploy_api
from tests.support.aws import ACCESS_TABLE
from tests.support.clock import NOW
from tools.cli import first_admin_key

if TYPE_CHECKING:
    from tests.support.clock import FakeClock

DIGEST_KEY = signing.derive_key(b"root", "api-keys")


@pytest.fixture
def secret_arn(dynamodb: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """The ARN of the signing secret, in an account that contains the access table."""
    # The process caches its clients, which would outlive moto's account.
    monkeypatch.setattr(first_admin_key, "get_client", boto3.client)
    return str(boto3.client("secretsmanager").create_secret(Name="root", SecretString="root")["ARN"])


def test_issued_key_is_stored_and_valid(clock: FakeClock) -> None:
    store = FakeKeyStore()
    secret = first_admin_key.issue_key(store, "root", clock, tenant="ops", name="test", scopes=DEFAULT_SCOPES)
    key = store.keys[secret.key_id]
    assert verify_key(key, secret, DIGEST_KEY, NOW) is KeyStatus.VALID
    assert (key.tenant, key.scopes, key.created_at) == ("ops", DEFAULT_SCOPES, NOW)


def test_main_prints_secret_of_valid_admin_key(
    dynamodb: Any, secret_arn: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first_admin_key.main(["--table", ACCESS_TABLE, "--secret-arn", secret_arn])
    secret = ApiKeySecret.parse(capsys.readouterr().out.strip())
    assert secret is not None
    key = DynamoKeyStore(dynamodb, ACCESS_TABLE).get(secret.key_id)
    assert key is not None
    assert verify_key(key, secret, DIGEST_KEY, NOW) is KeyStatus.VALID
    assert Scope.ADMIN in key.scopes


def test_main_assigns_usage_key_when_api_is_named(
    dynamodb: Any, secret_arn: str, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway = boto3.client("apigateway")
    api_id = deploy_api(gateway)
    first_admin_key.main(["--table", ACCESS_TABLE, "--secret-arn", secret_arn, "--api-id", api_id])
    secret = ApiKeySecret.parse(capsys.readouterr().out.strip())
    assert secret is not None
    key = DynamoKeyStore(dynamodb, ACCESS_TABLE).get(secret.key_id)
    assert key is not None
    assert key.usage_key_id is not None
    assert gateway.get_api_key(apiKey=key.usage_key_id, includeValue=True)["value"] == key.usage_key
