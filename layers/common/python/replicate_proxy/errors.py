"""Errors whose class says what to do next.

ProxyError
├── RetryableError       retry later
│   ├── NotWrittenError         retry later: nothing was written
│   └── UnconfirmedWriteError   look first whether the write took effect
├── PermanentError       do not retry: record it
├── ConflictError        another writer changed the record: read it again
├── DuplicateError       the work is already done or in progress
├── NotFoundError        there is no such record for this caller
├── ConfigurationError   an operator has to correct the deployment
└── ApiError             respond to the caller with this problem
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


MAX_LISTED_FIELDS = 20
_MAX_FIELD_CHARACTERS = 200


class ProxyError(Exception):
    """Base of the errors that this package raises on purpose. Messages hold no inputs, outputs or secrets."""


class RetryableError(ProxyError):
    """A temporary failure; `retry_after` is the delay in seconds that its source asks for, if any."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class NotWrittenError(RetryableError):
    """A write that has certainly not taken effect."""


class UnconfirmedWriteError(RetryableError):
    """A write that was not confirmed: it may have taken effect, or take effect later."""


class PermanentError(ProxyError):
    """A failure that retrying cannot change."""


class ConflictError(ProxyError):
    """The condition of a write failed, because another writer was faster."""


class DuplicateError(ProxyError):
    """The work is already done or in progress."""


class NotFoundError(ProxyError):
    """The record does not exist, or belongs to another tenant, which must not be distinguishable."""


class UnknownNameError(NotFoundError):
    """An operator named a queue, key or tenant that does not exist, which the response may say."""


class ConfigurationError(ProxyError):
    """A setting, secret or permission of the deployment is missing or wrong."""


@dataclass(frozen=True)
class InvalidField:
    """An entry of `invalid_fields` in a problem: what is wrong with which (dotted) field."""

    type: str
    field: str
    description: str


class ApiError(ProxyError):
    """An HTTP response in the form of Replicate's problems (application/problem+json).

    `invalid_field_count` counts the invalid fields that `invalid_fields` does not list, too. `extensions` are
    further members of the body (RFC 9457, section 3.2).
    """

    def __init__(
        self,
        status: int,
        title: str,
        detail: str,
        *,
        invalid_fields: Sequence[InvalidField] = (),
        invalid_field_count: int | None = None,
        headers: Mapping[str, str] | None = None,
        retry_after: int | None = None,
        extensions: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.title = title
        self.detail = detail
        self.invalid_fields = tuple(invalid_fields)
        self.invalid_field_count = (
            len(self.invalid_fields) if invalid_field_count is None else invalid_field_count
        )
        self.headers = dict(headers or {})
        self.retry_after = retry_after
        self.extensions = dict(extensions or {})


def field_error(field: str, description: str, *, error_type: str = "invalid") -> ApiError:
    """Return a 422 ApiError about one field of the body, or one header."""
    return field_errors([InvalidField(error_type, field, description)])


def field_errors(fields: Sequence[InvalidField], *, total: int | None = None) -> ApiError:
    """Return a 422 ApiError that lists the first invalid fields of `total` ones, in Replicate's shape."""
    return _build_error(422, "Input validation failed", fields, total)


def parameter_error(name: str, description: str, *, error_type: str = "invalid") -> ApiError:
    """Return a 400 ApiError about one query parameter."""
    return parameter_errors([InvalidField(error_type, name, description)])


def parameter_errors(parameters: Sequence[InvalidField]) -> ApiError:
    """Return a 400 ApiError that lists the first invalid query parameters."""
    return _build_error(400, "Invalid parameter", parameters)


def _build_error(
    status: int, title: str, fields: Sequence[InvalidField], total: int | None = None
) -> ApiError:
    """Return an error that lists few fields, so that a hostile request gets no response of megabytes."""
    total = len(fields) if total is None else total
    listed = [
        replace(field, field=field.field[:_MAX_FIELD_CHARACTERS]) for field in fields[:MAX_LISTED_FIELDS]
    ]
    detail = _describe(listed)
    if total > len(listed):
        detail += f"- and {total - len(listed)} more, {total} invalid fields in all\n"
    return ApiError(status, title, detail, invalid_fields=listed, invalid_field_count=total)


def _describe(fields: Sequence[InvalidField]) -> str:
    """Return one line a field, as Replicate does; an empty field name is the body itself."""
    return "".join(
        f"- {field.field}: {field.description}\n" if field.field else f"- {field.description}\n"
        for field in fields
    )


def too_many_secrets(limit: int) -> ApiError:
    """Return the error of a rotation that `limit` earlier secrets, which are valid, do not leave room for."""
    return ApiError(
        409,
        "Too many valid secrets",
        f"{limit} earlier secrets are valid until their overlap ends. Wait for that, or rotate with an "
        "overlap of 0, which invalidates all of them",
    )
