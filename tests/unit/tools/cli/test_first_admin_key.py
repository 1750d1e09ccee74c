"""The first key of a deployment."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import boto3

from replicate_proxy import signing
from replicate_proxy.auth.keys import ApiKeySecret, KeyStatus, verify_key
from replicate_proxy.auth.principal import Scope
from replicate_proxy.aws.key_store import DynamoKeyStore
from tests.support.access import TABLE, FakeKeyStore, deploy_api
from tests.support.clock import NOW, FakeClock
from tools.cli import first_admin_key
from tools.cli.first_admin_key import create_first_admin_key

if TYPE_CHECKING:
    import pytest


def test_the_first_key_is_an_operators_and_good(clock: FakeClock) -> None:
    store = FakeKeyStore()
    text = create_first_admin_key(store, "root", clock, tenant="ops", lifetime=timedelta(days=1))
    key = store.keys[text.key_id]
    assert verify_key(key, text, signing.derive_key(b"root", "api-keys"), NOW) is KeyStatus.VALID
    assert Scope.ADMIN in key.scopes
    assert (key.tenant, key.expires_at) == ("ops", NOW + timedelta(days=1))


def test_the_command_prints_the_key_and_nothing_else(
    dynamodb: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        first_admin_key, "get_client", boto3.client
    )  # the process keeps its clients, moto does not
    secret = boto3.client("secretsmanager").create_secret(Name="root", SecretString="root")["ARN"]
    first_admin_key.main(["--table", TABLE, "--secret-arn", secret])
    text = ApiKeySecret.parse(capsys.readouterr().out.strip())
    assert text is not None
    key = DynamoKeyStore(dynamodb, TABLE).get(text.key_id)
    assert verify_key(key, text, signing.derive_key(b"root", "api-keys"), NOW) is KeyStatus.VALID


def test_with_usage_plans_the_first_key_has_its_place(
    dynamodb: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_admin_key, "get_client", boto3.client)
    secret = boto3.client("secretsmanager").create_secret(Name="root", SecretString="root")["ARN"]
    gateway = boto3.client("apigateway")
    api = deploy_api(gateway)
    first_admin_key.main(["--table", TABLE, "--secret-arn", secret, "--api-id", api])
    text = ApiKeySecret.parse(capsys.readouterr().out.strip())
    assert text is not None
    key = DynamoKeyStore(dynamodb, TABLE).get(text.key_id)
    assert key is not None
    assert key.usage_key_id is not None
    assert gateway.get_api_key(apiKey=key.usage_key_id, includeValue=True)["value"] == key.usage_key
