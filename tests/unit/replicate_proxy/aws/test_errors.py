"""Translation of botocore's errors."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError

from replicate_proxy.aws.errors import translate_aws_errors
from replicate_proxy.errors import (
    ConfigurationError,
    ConflictError,
    NotFoundError,
    PermanentError,
    ProxyError,
    RetryableError,
)

CODES = {
    "conflict": frozenset({"Conflict"}),
    "not_found": frozenset({"NotFound"}),
    "misconfigured": frozenset({"AccessDenied"}),
}


def build_error(code: str, status: int = 400) -> ClientError:
    response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, "Operation")  # type: ignore[arg-type]  # more metadata is not needed


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("Conflict", ConflictError),
        ("NotFound", NotFoundError),
        ("AccessDenied", ConfigurationError),
        ("Gone", PermanentError),
        ("Unknown", RetryableError),
    ],
)
def test_named_code_raises_its_error_and_others_are_retryable(code: str, error: type[ProxyError]) -> None:
    with (
        pytest.raises(error, match=rf"^cannot do it: {code}$") as raised,
        translate_aws_errors("do it", permanent=frozenset({"Gone"}), **CODES),
    ):
        raise build_error(code)
    assert isinstance(raised.value.__cause__, ClientError)


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [
        ("Throttled", 400, RetryableError),
        ("Unknown", 503, RetryableError),
        ("Unknown", 400, PermanentError),
        ("Conflict", 400, ConflictError),
    ],
)
def test_only_retryable_codes_and_server_errors_are_retryable_when_named(
    code: str, status: int, error: type[ProxyError]
) -> None:
    with (
        pytest.raises(error),
        translate_aws_errors("do it", retryable=frozenset({"Throttled"}), **CODES),
    ):
        raise build_error(code, status)


def test_missing_response_is_retryable() -> None:
    with (
        pytest.raises(RetryableError, match=r"^cannot do it: ConnectTimeoutError$"),
        translate_aws_errors("do it", retryable=frozenset()),
    ):
        raise ConnectTimeoutError(endpoint_url="https://s3")


def test_other_errors_pass_unchanged() -> None:
    with pytest.raises(KeyError), translate_aws_errors("do it"):
        raise KeyError("x")
