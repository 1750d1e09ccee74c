"""Secrets are cached, refreshed on request, and never shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from moto import mock_aws

from replicate_proxy.aws.secrets import SecretReader
from replicate_proxy.errors import ConfigurationError, RetryableError
from tests.support.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "/replicate-proxy/test/replicate-api-token"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        yield {name: boto3.client(name, region_name="us-east-1") for name in ("ssm", "secretsmanager")}


@pytest.fixture
def secrets(aws: dict[str, Any], clock: FakeClock) -> SecretReader:
    return SecretReader(aws.__getitem__, monotonic=clock.monotonic)


def put_secret(aws: dict[str, Any], value: str) -> None:
    aws["ssm"].put_parameter(Name=NAME, Value=value, Type="SecureString", Overwrite=True)


def test_get_returns_decrypted_parameter_without_newline(aws: dict[str, Any], secrets: SecretReader) -> None:
    put_secret(aws, "r8_abc\n")
    assert secrets.get(NAME) == "r8_abc"


def test_get_reads_secrets_manager_by_arn(aws: dict[str, Any], secrets: SecretReader) -> None:
    arn = aws["secretsmanager"].create_secret(Name="signing", SecretString="0123")["ARN"]
    assert secrets.get(arn) == "0123"


def test_get_list_splits_value(aws: dict[str, Any], secrets: SecretReader) -> None:
    put_secret(aws, "whsec_new, whsec_old\nwhsec_older")
    assert secrets.get_list(NAME) == ("whsec_new", "whsec_old", "whsec_older")


def test_value_is_cached_for_five_minutes(
    aws: dict[str, Any], secrets: SecretReader, clock: FakeClock
) -> None:
    put_secret(aws, "old")
    secrets.get(NAME)
    put_secret(aws, "new")
    clock.advance(299)
    assert secrets.get(NAME) == "old"
    clock.advance(2)
    assert secrets.get(NAME) == "new"


def test_refresh_reads_again_at_most_every_five_seconds(
    aws: dict[str, Any], secrets: SecretReader, clock: FakeClock
) -> None:
    put_secret(aws, "1")
    secrets.get(NAME)
    clock.advance(60)
    put_secret(aws, "2")
    assert secrets.get(NAME, refresh=True) == "2"
    put_secret(aws, "3")
    assert secrets.get(NAME, refresh=True) == "2"
    clock.advance(6)
    assert secrets.get(NAME, refresh=True) == "3"


@pytest.mark.parametrize(
    "name", ["/missing", "arn:aws:secretsmanager:us-east-1:123456789012:secret:missing-abcdef"]
)
def test_missing_secret_is_a_configuration_error(secrets: SecretReader, name: str) -> None:
    with pytest.raises(ConfigurationError, match="missing"):
        secrets.get(name)


def test_empty_secret_is_a_configuration_error(aws: dict[str, Any], secrets: SecretReader) -> None:
    put_secret(aws, " \n")
    with pytest.raises(ConfigurationError, match="empty"):
        secrets.get(NAME)


class FakeSsm:
    """A client that raises or returns its outcome."""

    def __init__(self, outcome: Exception | str) -> None:
        self.outcome = outcome

    def get_parameter(self, **_: object) -> dict[str, Any]:
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return {"Parameter": {"Value": self.outcome}}


def build_client_error(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "m"}}, "GetParameter")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (build_client_error("AccessDeniedException"), ConfigurationError),
        (build_client_error("ThrottlingException"), RetryableError),
        (build_client_error("InternalServerError"), RetryableError),
        (EndpointConnectionError(endpoint_url="https://ssm"), RetryableError),
    ],
)
def test_store_error_is_translated(error: Exception, expected: type[Exception]) -> None:
    with pytest.raises(expected):
        SecretReader(lambda _: FakeSsm(error)).get(NAME)


def test_cached_value_is_used_while_store_fails(clock: FakeClock) -> None:
    ssm = FakeSsm("r8_abc")
    secrets = SecretReader(lambda _: ssm, monotonic=clock.monotonic)
    secrets.get(NAME)
    clock.advance(301)
    ssm.outcome = build_client_error("ThrottlingException")
    assert secrets.get(NAME) == "r8_abc"
    assert secrets.get(NAME, refresh=True) == "r8_abc"


def test_cached_value_is_not_used_when_access_is_denied(clock: FakeClock) -> None:
    ssm = FakeSsm("r8_abc")
    secrets = SecretReader(lambda _: ssm, monotonic=clock.monotonic)
    secrets.get(NAME)
    clock.advance(301)
    ssm.outcome = build_client_error("AccessDeniedException")
    with pytest.raises(ConfigurationError):
        secrets.get(NAME)


def test_repr_shows_no_values(aws: dict[str, Any], secrets: SecretReader) -> None:
    put_secret(aws, "r8_abc")
    secrets.get(NAME)
    assert "r8_abc" not in repr(secrets) + repr(vars(secrets))
