"""Translation of botocore's errors into the classes of `replicate_proxy.errors`.

Every adapter wraps its calls in `translate_aws_errors` and names the error codes that mean something special
for its calls. Codes are those of the AWS API references of each service.
"""

from __future__ import annotations

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
    from types import TracebackType

    from replicate_proxy.errors import ProxyError

_NONE: frozenset[str] = frozenset()


class translate_aws_errors:  # noqa: N801 - used like a function, as `contextlib.suppress`
    """Raise ConflictError, NotFoundError or ConfigurationError for the named error codes.

    Codes in `permanent` raise PermanentError, all others RetryableError. If `retryable` is given instead,
    those codes and 5xx responses raise RetryableError, all others PermanentError. A missing response is
    retryable.

    `operation` says in the message what failed, as in "send message" or "read secret NAME".
    """

    __slots__ = ("_by_codes", "_operation", "_retryable")

    def __init__(
        self,
        operation: str,
        *,
        conflict: frozenset[str] = _NONE,
        not_found: frozenset[str] = _NONE,
        misconfigured: frozenset[str] = _NONE,
        permanent: frozenset[str] = _NONE,
        retryable: frozenset[str] | None = None,
    ) -> None:
        self._operation = operation
        self._by_codes: tuple[tuple[frozenset[str], type[ProxyError]], ...] = (
            (conflict, ConflictError),
            (not_found, NotFoundError),
            (misconfigured, ConfigurationError),
            (permanent, PermanentError),
        )
        self._retryable = retryable

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        _error_class: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        if error is None:
            return
        if isinstance(error, ClientError):
            codes = _get_failure_codes(error)
            raise self._choose_class(codes, error)(
                f"cannot {self._operation}: {', '.join(sorted(codes))}"
            ) from error
        if isinstance(error, BotoCoreError):
            raise RetryableError(f"cannot {self._operation}: {type(error).__name__}") from error

    def _choose_class(self, codes: set[str], error: ClientError) -> type[ProxyError]:
        for named_codes, error_class in self._by_codes:
            if codes & named_codes:
                return error_class
        if self._retryable is None or codes <= self._retryable or _is_server_error(error):
            return RetryableError
        return PermanentError


def get_error_code(error: ClientError) -> str:
    """Return the code of the error response; for a HEAD request, which has no body, the status as text."""
    return str(error.response.get("Error", {}).get("Code", ""))


def list_cancellation_codes(error: BaseException | None) -> list[str]:
    """Return why each item of a canceled DynamoDB transaction failed, "None" for those that did not.

    The list is empty for any other error (Amazon DynamoDB API Reference, TransactWriteItems).
    """
    response: Any = error.response if isinstance(error, ClientError) else {}
    return [str(reason.get("Code")) for reason in response.get("CancellationReasons", ())]


def _get_failure_codes(error: ClientError) -> set[str]:
    """Return the error code, or the reasons of a canceled transaction."""
    return set(list_cancellation_codes(error)) - {"None"} or {get_error_code(error)}


def _is_server_error(error: ClientError) -> bool:
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status >= HTTPStatus.INTERNAL_SERVER_ERROR
