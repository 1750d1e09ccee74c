"""Errors whose class says what to do next.

ProxyError
├── RetryableError       retry later
├── PermanentError       do not retry: record it
├── ConflictError        another writer changed the record: read it again
├── DuplicateError       the work is already done or in progress
├── NotFoundError        there is no such record for this caller
├── ConfigurationError   an operator has to correct the deployment
└── ApiError             respond to the caller with this problem
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class ProxyError(Exception):
    """Base of the errors that this package raises on purpose. Messages hold no inputs, outputs or secrets."""


class RetryableError(ProxyError):
    """A temporary failure; `retry_after` is the delay in seconds that its source asks for, if any."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class PermanentError(ProxyError):
    """A failure that retrying cannot change."""


class ConflictError(ProxyError):
    """The condition of a write failed, because another writer was faster."""


class DuplicateError(ProxyError):
    """The work is already done or in progress."""


class NotFoundError(ProxyError):
    """The record does not exist, or belongs to another tenant, which must not be distinguishable."""


class ConfigurationError(ProxyError):
    """A setting, secret or permission of the deployment is missing or wrong."""


@dataclass(frozen=True)
class InvalidField:
    """An entry of `invalid_fields` in a problem: what is wrong with which (dotted) field."""

    type: str
    field: str
    description: str


class ApiError(ProxyError):
    """An HTTP response in the form of Replicate's problems (application/problem+json)."""

    def __init__(
        self,
        status: int,
        title: str,
        detail: str,
        *,
        invalid_fields: Sequence[InvalidField] = (),
        headers: Mapping[str, str] | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.title = title
        self.detail = detail
        self.invalid_fields = tuple(invalid_fields)
        self.headers = dict(headers or {})
        self.retry_after = retry_after


def field_error(field: str, description: str, *, error_type: str = "invalid") -> ApiError:
    """Return a 422 ApiError about one field of the body, or one header."""
    return field_errors([InvalidField(error_type, field, description)])


def field_errors(fields: Sequence[InvalidField]) -> ApiError:
    """Return a 422 ApiError that names every invalid field, in Replicate's shape."""
    return ApiError(422, "Input validation failed", _describe(fields), invalid_fields=fields)


def parameter_error(name: str, description: str, *, error_type: str = "invalid") -> ApiError:
    """Return a 400 ApiError about one query parameter."""
    return parameter_errors([InvalidField(error_type, name, description)])


def parameter_errors(parameters: Sequence[InvalidField]) -> ApiError:
    """Return a 400 ApiError that names every invalid query parameter."""
    return ApiError(400, "Invalid parameter", _describe(parameters), invalid_fields=parameters)


def _describe(fields: Sequence[InvalidField]) -> str:
    """Return one line a field, as Replicate does; an empty field name is the body itself."""
    return "".join(
        f"- {field.field}: {field.description}\n" if field.field else f"- {field.description}\n"
        for field in fields
    )
