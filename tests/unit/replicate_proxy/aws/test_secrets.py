"""Secrets read once, read anew when asked, never shown."""

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


def store(aws: dict[str, Any], value: str) -> None:
    aws["ssm"].put_parameter(Name=NAME, Value=value, Type="SecureString", Overwrite=True)


def test_a_secure_string_decrypted_and_without_the_newline_of_whoever_stored_it(
    aws: dict[str, Any], secrets: SecretReader
) -> None:
    store(aws, "r8_abc\n")
    assert secrets.get(NAME) == "r8_abc"


def test_a_secret_of_secrets_manager_by_arn(aws: dict[str, Any], secrets: SecretReader) -> None:
    arn = aws["secretsmanager"].create_secret(Name="signing", SecretString="0123")["ARN"]
    assert secrets.get(arn) == "0123"


def test_several_live_secrets_under_one_name(aws: dict[str, Any], secrets: SecretReader) -> None:
    store(aws, "whsec_new, whsec_old\nwhsec_older")
    assert secrets.get_list(NAME) == ("whsec_new", "whsec_old", "whsec_older")


def test_a_value_is_kept_for_five_minutes(
    aws: dict[str, Any], secrets: SecretReader, clock: FakeClock
) -> None:
    store(aws, "old")
    secrets.get(NAME)
    store(aws, "new")
    clock.advance(299)
    assert secrets.get(NAME) == "old"
    clock.advance(2)
    assert secrets.get(NAME) == "new"


def test_refresh_reads_anew_but_not_in_a_flood(
    aws: dict[str, Any], secrets: SecretReader, clock: FakeClock
) -> None:
    store(aws, "1")
    secrets.get(NAME)
    clock.advance(60)
    store(aws, "2")
    assert secrets.get(NAME, refresh=True) == "2"
    store(aws, "3")
    assert secrets.get(NAME, refresh=True) == "2"
    clock.advance(6)
    assert secrets.get(NAME, refresh=True) == "3"


@pytest.mark.parametrize(
    "name", ["/missing", "arn:aws:secretsmanager:us-east-1:123456789012:secret:missing-abcdef"]
)
def test_a_missing_secret_is_for_an_operator(secrets: SecretReader, name: str) -> None:
    with pytest.raises(ConfigurationError, match="missing"):
        secrets.get(name)


def test_an_empty_secret_is_for_an_operator(aws: dict[str, Any], secrets: SecretReader) -> None:
    store(aws, " \n")
    with pytest.raises(ConfigurationError, match="empty"):
        secrets.get(NAME)


class Failing:
    """An SSM that answers with `outcome`, an error or a value."""

    def __init__(self, outcome: Exception | str) -> None:
        self.outcome = outcome

    def get_parameter(self, **_: object) -> dict[str, Any]:
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return {"Parameter": {"Value": self.outcome}}


def client_error(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "m"}}, "GetParameter")


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (client_error("AccessDeniedException"), ConfigurationError),
        (client_error("ThrottlingException"), RetryableError),
        (client_error("InternalServerError"), RetryableError),
        (EndpointConnectionError(endpoint_url="https://ssm"), RetryableError),
    ],
)
def test_errors_of_the_store(error: Exception, ours: type[Exception]) -> None:
    with pytest.raises(ours):
        SecretReader(lambda _: Failing(error)).get(NAME)


def test_the_last_value_serves_while_the_store_fails(clock: FakeClock) -> None:
    ssm = Failing("r8_abc")
    secrets = SecretReader(lambda _: ssm, monotonic=clock.monotonic)
    secrets.get(NAME)
    clock.advance(301)
    ssm.outcome = client_error("ThrottlingException")
    assert secrets.get(NAME) == "r8_abc"
    assert secrets.get(NAME, refresh=True) == "r8_abc"


def test_a_withdrawn_permission_is_not_papered_over(clock: FakeClock) -> None:
    ssm = Failing("r8_abc")
    secrets = SecretReader(lambda _: ssm, monotonic=clock.monotonic)
    secrets.get(NAME)
    clock.advance(301)
    ssm.outcome = client_error("AccessDeniedException")
    with pytest.raises(ConfigurationError):
        secrets.get(NAME)


def test_values_are_not_in_the_repr(aws: dict[str, Any], secrets: SecretReader) -> None:
    store(aws, "r8_abc")
    secrets.get(NAME)
    assert "r8_abc" not in repr(secrets) + repr(vars(secrets))
