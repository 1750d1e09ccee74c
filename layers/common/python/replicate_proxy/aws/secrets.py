"""Secrets: SecureStrings of the SSM parameter store."""

from __future__ import annotations

import math
import re
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from replicate_proxy.aws.errors import translate_aws_errors
from replicate_proxy.errors import ConfigurationError, NotFoundError, RetryableError
from replicate_proxy.observability import logger

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from types_boto3_ssm import SSMClient


# Codes of SSM and KMS for what only an operator can correct
_MISCONFIGURED = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "InvalidKeyId",
        "ParameterNotFound",
        "UnrecognizedClientException",
        "ValidationException",
    }
)
_MAX_CACHED = 500
_SEPARATORS = re.compile(r"[\s,]+")


@dataclass(frozen=True, slots=True)
class _CachedValue:
    value: str = field(repr=False)
    read_at: float


class SecretReader:
    """Reads secrets by name and caches them.

    A value is read again after `ttl_seconds`, or at a request to refresh it, but not more often than every
    `min_refresh_seconds`, also if there is none: many forged signatures must not cause as many reads. If the
    store fails temporarily, the cached value stays in use.
    """

    def __init__(
        self,
        client: SSMClient,
        *,
        ttl_seconds: float = 300.0,
        min_refresh_seconds: float = 5.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._ttl_seconds = ttl_seconds
        self._min_refresh_seconds = min_refresh_seconds
        self._monotonic = monotonic
        self._cache: dict[str, _CachedValue] = {}
        # When a secret was found not to be readable, and why.
        self._failures: dict[str, tuple[float, str]] = {}

    def get(self, name: str, *, refresh: bool = False) -> str:
        """Return the value without surrounding white space.

        Raises ConfigurationError if it is missing, empty or not readable for this function, RetryableError
        if the store fails temporarily and no value is cached.
        """
        cached = self._cache.get(name)
        if cached is not None and self._is_current(cached, refresh=refresh):
            return cached.value
        failed_at, reason = self._failures.get(name, (-math.inf, ""))
        if self._monotonic() - failed_at < self._min_refresh_seconds:
            raise ConfigurationError(reason)
        try:
            value = self._read(name)
        except ConfigurationError as error:
            self._remember(self._failures, name, (self._monotonic(), str(error)))
            raise
        except RetryableError as error:
            if cached is None:
                raise
            logger.warning("secret store unavailable, using cached value", secret=name, reason=str(error))
            return cached.value
        self._remember(self._cache, name, _CachedValue(value, self._monotonic()))
        return value

    def get_list(self, name: str, *, refresh: bool = False) -> tuple[str, ...]:
        """Return the values of a secret that holds several, separated by white space or commas."""
        return tuple(part for part in _SEPARATORS.split(self.get(name, refresh=refresh)) if part)

    def _remember[T](self, entries: dict[str, T], name: str, entry: T) -> None:
        if len(entries) >= _MAX_CACHED:
            entries.clear()
        entries[name] = entry

    def _is_current(self, cached: _CachedValue, *, refresh: bool) -> bool:
        age = self._monotonic() - cached.read_at
        return age < (self._min_refresh_seconds if refresh else self._ttl_seconds)

    def _read(self, name: str) -> str:
        with translate_aws_errors(f"read secret {name}", misconfigured=_MISCONFIGURED):
            response = self._client.get_parameter(Name=name, WithDecryption=True)
        value = response["Parameter"]["Value"].strip()
        if not value:
            raise ConfigurationError(f"cannot read secret {name}: it is empty")
        return value


class SsmParameter:
    """One SecureString of the parameter store, as the StoredSecret port. Reads are not cached."""

    _MISSING = frozenset({"ParameterNotFound"})
    _DENIED = frozenset({"AccessDeniedException"})

    def __init__(self, client: SSMClient, name: str, *, key_id: str = "") -> None:
        """`key_id` is the KMS key of written values; without one, SSM takes the account's default key.

        SSM also takes that one where an earlier value had another (Systems Manager API Reference,
        "PutParameter", `KeyId`).
        """
        self._client = client
        self._name = name
        self._key_id = key_id

    def read(self) -> str:
        """Return the value, empty if the parameter does not exist."""
        operation = f"read parameter {self._name}"
        try:
            with translate_aws_errors(operation, not_found=self._MISSING, misconfigured=self._DENIED):
                response = self._client.get_parameter(Name=self._name, WithDecryption=True)
        except NotFoundError:
            return ""
        return response["Parameter"]["Value"]

    def read_modified_at(self) -> datetime | None:
        """Return when the value was written, None if the parameter does not exist."""
        operation = f"read parameter {self._name}"
        try:
            with translate_aws_errors(operation, not_found=self._MISSING, misconfigured=self._DENIED):
                response = self._client.get_parameter(Name=self._name, WithDecryption=False)
        except NotFoundError:
            return None
        return response["Parameter"].get("LastModifiedDate")

    def write(self, text: str) -> None:
        with translate_aws_errors(f"write parameter {self._name}", misconfigured=self._DENIED):
            if self._key_id:
                self._client.put_parameter(
                    Name=self._name, Value=text, Type="SecureString", Overwrite=True, KeyId=self._key_id
                )
            else:
                self._client.put_parameter(Name=self._name, Value=text, Type="SecureString", Overwrite=True)

    def delete(self) -> None:
        """Delete the parameter; nothing happens if it does not exist."""
        operation = f"delete parameter {self._name}"
        with (
            suppress(NotFoundError),
            translate_aws_errors(operation, not_found=self._MISSING, misconfigured=self._DENIED),
        ):
            self._client.delete_parameter(Name=self._name)
