"""Secrets by name: SSM SecureStrings by parameter name, Secrets Manager by ARN; remembered for a while.

One SecureString of SSM's parameter store.
"""

from __future__ import annotations

import re
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from replicate_proxy.errors import ConfigurationError, RetryableError
from replicate_proxy.observability import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


_WRONG = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "DecryptionFailure",
        "InvalidKeyId",
        "ParameterNotFound",
        "ResourceNotFoundException",
        "UnrecognizedClientException",
        "ValidationException",
    }
)
"""Codes of SSM, Secrets Manager and KMS that no retry mends."""

_SEPARATORS = re.compile(r"[\s,]+")


@dataclass(frozen=True, slots=True)
class _Cached:
    value: str = field(repr=False)
    read_at: float


class SecretReader:
    """`client(service)` gives a boto3 client, made only when first needed.

    A value is read again after `ttl` seconds, or at once with `refresh`, but then no more than once in
    `refresh_interval` seconds: a flood of forged signatures must not become a flood of reads. While the store
    fails for a passing reason, the last value known is used.
    """

    def __init__(
        self,
        client: Callable[[str], Any],
        *,
        ttl_seconds: float = 300.0,
        min_refresh_seconds: float = 5.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._ttl = ttl_seconds
        self._refresh_interval = min_refresh_seconds
        self._monotonic = monotonic
        self._cache: dict[str, _Cached] = {}

    def get(self, name: str, *, refresh: bool = False) -> str:
        """The value, without surrounding white space.

        Raises ConfigurationError where it is missing, empty or not ours to read, RetryableError where the
        store cannot be reached and no earlier value is known.
        """
        cached = self._cache.get(name)
        if cached is not None and self._fresh(cached, refresh=refresh):
            return cached.value
        try:
            value = self._read(name)
        except RetryableError as error:
            if cached is None:
                raise
            logger.warning("secret store failed, using the last value", secret=name, reason=str(error))
            return cached.value
        self._cache[name] = _Cached(value, self._monotonic())
        return value

    def get_list(self, name: str, *, refresh: bool = False) -> tuple[str, ...]:
        """Several live secrets kept under one name, separated by white space or commas, newest first."""
        return tuple(part for part in _SEPARATORS.split(self.get(name, refresh=refresh)) if part)

    def _fresh(self, cached: _Cached, *, refresh: bool) -> bool:
        age = self._monotonic() - cached.read_at
        return age < (self._refresh_interval if refresh else self._ttl)

    def _read(self, name: str) -> str:
        try:
            value = self._fetch(name).strip()
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if code in _WRONG:
                raise ConfigurationError(f"secret {name} cannot be read: {code}") from error
            raise RetryableError(f"secret {name} cannot be read for now: {code}") from error
        except BotoCoreError as error:
            raise RetryableError(f"secret {name} cannot be read for now: {type(error).__name__}") from error
        if not value:
            raise ConfigurationError(f"secret {name} is empty")
        return value

    def _fetch(self, name: str) -> str:
        if name.startswith("arn:") and ":secretsmanager:" in name:
            return str(self._client("secretsmanager").get_secret_value(SecretId=name).get("SecretString", ""))
        return str(self._client("ssm").get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"])


_DENIED = "AccessDeniedException"


class SsmParameter:
    """SecretParameter by boto3's `ssm` client."""

    def __init__(self, client: Any, name: str) -> None:
        self._client = client
        self._name = name

    def read(self) -> str:
        with _translated(self._name):
            try:
                found = self._client.get_parameter(Name=self._name, WithDecryption=True)
            except self._client.exceptions.ParameterNotFound:
                return ""
        return str(found["Parameter"]["Value"])

    def write(self, text: str) -> None:
        with _translated(self._name):
            self._client.put_parameter(Name=self._name, Value=text, Type="SecureString", Overwrite=True)


@contextmanager
def _translated(name: str) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        if code == _DENIED:
            raise ConfigurationError(f"parameter {name} may not be used: {code}") from error
        raise RetryableError(f"parameter {name} cannot be used for now: {code}") from error
    except BotoCoreError as error:
        raise RetryableError(f"parameter {name} cannot be used for now: {type(error).__name__}") from error
