"""Translation of botocore's errors into the classes of `replicate_proxy.errors`.

Every adapter wraps its calls in `translate_aws_errors` and names the error codes that mean something special
for its calls. Codes are those of the AWS API references of each service.
"""

from __future__ import annotations

from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from replicate_proxy.errors import (
    ConfigurationError,
    ConflictError,
    NotFoundError,
    PermanentError,
    RetryableError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from replicate_proxy.errors import ProxyError

_NONE: frozenset[str] = frozenset()


@contextmanager
def translate_aws_errors(
    operation: str,
    *,
    conflict: frozenset[str] = _NONE,
    not_found: frozenset[str] = _NONE,
    misconfigured: frozenset[str] = _NONE,
    permanent: frozenset[str] = _NONE,
    retryable: frozenset[str] | None = None,
) -> Iterator[None]:
    """Raise ConflictError, NotFoundError or ConfigurationError for the named error codes.

    Codes in `permanent` raise PermanentError, all others RetryableError. If `retryable` is given instead,
    those codes and 5xx responses raise RetryableError, all others PermanentError. A missing response is
    retryable.

    `operation` says in the message what failed, as in "send message" or "read secret NAME".
    """
    try:
        yield
    except ClientError as error:
        codes = _get_failure_codes(error)
        error_class: type[ProxyError]
        if codes & conflict:
            error_class = ConflictError
        elif codes & not_found:
            error_class = NotFoundError
        elif codes & misconfigured:
            error_class = ConfigurationError
        elif codes & permanent:
            error_class = PermanentError
        elif retryable is None or codes <= retryable or _is_server_error(error):
            error_class = RetryableError
        else:
            error_class = PermanentError
        raise error_class(f"cannot {operation}: {', '.join(sorted(codes))}") from error
    except BotoCoreError as error:
        raise RetryableError(f"cannot {operation}: {type(error).__name__}") from error


def get_error_code(error: ClientError) -> str:
    """Return the code of the error response; for a HEAD request, which has no body, the status as text."""
    return str(error.response.get("Error", {}).get("Code", ""))


def _get_failure_codes(error: ClientError) -> set[str]:
    """Return the error code, or the reasons of a canceled DynamoDB transaction.

    The reasons have one entry for each item of the transaction, "None" for those that did not fail (Amazon
    DynamoDB API Reference, TransactWriteItems).
    """
    response: Any = error.response
    reasons = {reason.get("Code") for reason in response.get("CancellationReasons", ())} - {"None"}
    return reasons or {get_error_code(error)}


def _is_server_error(error: ClientError) -> bool:
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status >= HTTPStatus.INTERNAL_SERVER_ERROR
