"""Which secrets verify webhooks of Replicate: those of the account that the callback URL names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import boto3
import pytest

from replicate_proxy.bootstrap.webhook import read_secrets
from replicate_proxy.errors import ConfigurationError
from replicate_proxy.jobs.model import SHARED_ACCOUNT, Account
from tests.support.handlers import aws_account

if TYPE_CHECKING:
    from collections.abc import Iterator

OWN = Account("acme", "own")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("REPLICATE_WEBHOOK_SECRET", "/shared-secret")
    monkeypatch.setenv("TENANT_WEBHOOK_SECRETS_PREFIX", "/own-secrets")
    with aws_account(monkeypatch):
        yield


def test_each_account_has_its_own_secrets() -> None:
    ssm = boto3.client("ssm")
    ssm.put_parameter(Name="/shared-secret", Value="whsec_a", Type="SecureString")
    ssm.put_parameter(Name="/own-secrets/acme/own", Value="whsec_b whsec_c", Type="SecureString")
    assert read_secrets(SHARED_ACCOUNT, False) == ("whsec_a",)
    assert read_secrets(OWN, False) == ("whsec_b", "whsec_c")


def test_account_that_was_deleted_has_none_and_the_shared_one_must_have_one() -> None:
    assert read_secrets(OWN, False) == ()
    with pytest.raises(ConfigurationError):
        read_secrets(SHARED_ACCOUNT, False)
