"""One SecureString of SSM's parameter store."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from replicate_proxy.errors import ConfigurationError, RetryableError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SsmParameter"]

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
