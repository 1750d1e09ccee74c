"""Secrets are cached, refreshed on request, and never shown; parameters are written encrypted."""

from __future__ import annotations

from typing import TYPE_CHECKING
from unittest.mock import Mock

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError
from moto import mock_aws

from replicate_proxy.aws.secrets import SecretReader, SsmParameter
from replicate_proxy.errors import ConfigurationError, RetryableError
from tests.support.aws import make_client_error, make_failing_client
from tests.support.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from types_boto3_ssm import SSMClient

NAME = "/replicate-proxy/test/replicate-api-token"
PARAMETER = {"Parameter": {"Value": "r8_abc"}}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def ssm() -> Iterator[SSMClient]:
    with mock_aws():
        yield boto3.client("ssm")


@pytest.fixture
def secrets(ssm: SSMClient, clock: FakeClock) -> SecretReader:
    return SecretReader(ssm, monotonic=clock.monotonic)


def put_secret(ssm: SSMClient, value: str) -> None:
    ssm.put_parameter(Name=NAME, Value=value, Type="SecureString", Overwrite=True)


def test_get_returns_decrypted_parameter_without_newline(ssm: SSMClient, secrets: SecretReader) -> None:
    put_secret(ssm, "r8_abc\n")
    assert secrets.get(NAME) == "r8_abc"


def test_get_list_splits_value(ssm: SSMClient, secrets: SecretReader) -> None:
    put_secret(ssm, "whsec_new, whsec_old\nwhsec_older")
    assert secrets.get_list(NAME) == ("whsec_new", "whsec_old", "whsec_older")


def test_value_is_cached_for_five_minutes(ssm: SSMClient, secrets: SecretReader, clock: FakeClock) -> None:
    put_secret(ssm, "old")
    secrets.get(NAME)
    put_secret(ssm, "new")
    clock.advance(299)
    assert secrets.get(NAME) == "old"
    clock.advance(2)
    assert secrets.get(NAME) == "new"


def test_refresh_reads_again_at_most_every_five_seconds(
    ssm: SSMClient, secrets: SecretReader, clock: FakeClock
) -> None:
    put_secret(ssm, "1")
    secrets.get(NAME)
    clock.advance(60)
    put_secret(ssm, "2")
    assert secrets.get(NAME, refresh=True) == "2"
    put_secret(ssm, "3")
    assert secrets.get(NAME, refresh=True) == "2"
    clock.advance(6)
    assert secrets.get(NAME, refresh=True) == "3"


def test_missing_secret_is_a_configuration_error(secrets: SecretReader) -> None:
    with pytest.raises(ConfigurationError, match="missing"):
        secrets.get("/missing")


def test_missing_secret_is_read_again_at_most_every_five_seconds(clock: FakeClock) -> None:
    """Whoever sends webhooks with any signature causes two reads each."""
    ssm = Mock(get_parameter=Mock(side_effect=make_client_error("ParameterNotFound")))
    secrets = SecretReader(ssm, monotonic=clock.monotonic)
    for _ in range(100):
        with pytest.raises(ConfigurationError, match=NAME):
            secrets.get(NAME, refresh=True)
    assert ssm.get_parameter.call_count == 1

    ssm.get_parameter.side_effect = [PARAMETER]
    clock.advance(6)
    assert secrets.get(NAME) == "r8_abc"


def test_empty_secret_is_a_configuration_error(ssm: SSMClient, secrets: SecretReader) -> None:
    put_secret(ssm, " \n")
    with pytest.raises(ConfigurationError, match="empty"):
        secrets.get(NAME)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (make_client_error("AccessDeniedException"), ConfigurationError),
        (make_client_error("ThrottlingException"), RetryableError),
        (make_client_error("InternalServerError"), RetryableError),
        (EndpointConnectionError(endpoint_url="https://ssm"), RetryableError),
    ],
)
def test_store_error_is_translated(error: Exception, expected: type[Exception]) -> None:
    with pytest.raises(expected):
        SecretReader(make_failing_client(error)).get(NAME)


def test_cached_value_is_used_while_store_fails(clock: FakeClock) -> None:
    error = make_client_error("ThrottlingException")
    ssm = Mock(get_parameter=Mock(side_effect=[PARAMETER, error, error]))
    secrets = SecretReader(ssm, monotonic=clock.monotonic)
    secrets.get(NAME)
    clock.advance(301)
    assert secrets.get(NAME) == "r8_abc"
    assert secrets.get(NAME, refresh=True) == "r8_abc"


def test_cached_value_is_not_used_when_access_is_denied(clock: FakeClock) -> None:
    error = make_client_error("AccessDeniedException")
    ssm = Mock(get_parameter=Mock(side_effect=[PARAMETER, error]))
    secrets = SecretReader(ssm, monotonic=clock.monotonic)
    secrets.get(NAME)
    clock.advance(301)
    with pytest.raises(ConfigurationError):
        secrets.get(NAME)


def test_repr_shows_no_values(ssm: SSMClient, secrets: SecretReader) -> None:
    put_secret(ssm, "r8_abc")
    secrets.get(NAME)
    assert "r8_abc" not in repr(secrets) + repr(vars(secrets))


def test_parameter_is_written_encrypted_and_read_back(ssm: SSMClient) -> None:
    parameter = SsmParameter(ssm, "/replicate-proxy/prod/secret")
    assert parameter.read() == ""
    for text in ("one", "two one"):
        parameter.write(text)
        assert parameter.read() == text
    assert ssm.describe_parameters()["Parameters"][0]["Type"] == "SecureString"


def test_parameter_is_written_under_the_given_key(ssm: SSMClient) -> None:
    name, key_id = "/replicate-proxy/prod/secret", "arn:aws:kms:us-east-1:123456789012:key/k"
    ssm.put_parameter(Name=name, Value="one", Type="SecureString", KeyId=key_id)

    SsmParameter(ssm, name, key_id=key_id).write("two one")

    assert ssm.describe_parameters()["Parameters"][0]["KeyId"] == key_id


@pytest.mark.parametrize(
    ("code", "expected_class"),
    [("AccessDeniedException", ConfigurationError), ("ThrottlingException", RetryableError)],
)
def test_parameter_write_translates_aws_errors(code: str, expected_class: type[Exception]) -> None:
    parameter = SsmParameter(make_failing_client(make_client_error(code)), "x")
    with pytest.raises(expected_class):
        parameter.write("y")
