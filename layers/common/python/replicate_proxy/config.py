"""How the functions read their environment variables.

`replicate_proxy.settings` declares every variable as a `Setting`; an `Environment` returns its typed value.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from replicate_proxy.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


@dataclass(frozen=True, slots=True)
class Setting[T]:
    """An environment variable, and the functions that read it.

    The default stands for a variable that is unset or empty; a required setting must have a value. One that
    is `local_only` always has its default on AWS; tests on the local stack can change it. `min_on_aws` is the
    least value that is safe; the local stack, whose Replicate responds at once, may go below.
    """

    name: str
    parse: Callable[[str], T]
    default: T
    functions: tuple[str, ...]
    description: str
    unit: str = ""
    required: bool = False
    local_only: bool = False
    min_on_aws: float | None = None


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """What only the local stack may switch on, from the JSON object in `LOCAL_SETTINGS`."""

    allow_loopback: bool = False
    faults_file: str | None = None
    clock_offset_file: str | None = None


class Environment:
    """Typed access to environment variables: `env[MAX_WAIT_SECONDS]`."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables

    def __getitem__[T](self, setting: Setting[T]) -> T:
        """Return the value. Raises ConfigurationError if it is missing, cannot be parsed or is too small."""
        text = self._variables.get(setting.name, "")
        if not text or (setting.local_only and not self._is_local()):
            if setting.required:
                raise ConfigurationError(f"environment variable {setting.name} is not set")
            return setting.default
        try:
            value = setting.parse(text)
        except ValueError as error:
            raise ConfigurationError(f"environment variable {setting.name}: {error}") from None
        minimum = setting.min_on_aws
        if minimum is not None and float(text) < minimum and not self._is_local():
            raise ConfigurationError(f"environment variable {setting.name}: {text} is less than {minimum:g}")
        return value

    def local_settings(self) -> LocalSettings:
        """Return the local stack's switches; on AWS all of them are off, whatever the variable says."""
        text = self._variables.get("LOCAL_SETTINGS", "")
        if not text or not self._is_local():
            return LocalSettings()
        values = json.loads(text)
        if not isinstance(values, dict):
            raise ConfigurationError("environment variable LOCAL_SETTINGS is not a JSON object")
        return LocalSettings(
            allow_loopback=bool(values.get("allow_loopback")),
            faults_file=values.get("faults_file"),
            clock_offset_file=values.get("clock_offset_file"),
        )

    def _is_local(self) -> bool:
        """Return whether the AWS endpoint is on this machine."""
        return urlsplit(self._variables.get("AWS_ENDPOINT_URL", "")).hostname in _LOOPBACK_HOSTS


def parse_text(text: str) -> str:
    return text


def parse_number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number") from None


def parse_integer(text: str) -> int:
    return int(parse_number(text))


def parse_boolean(text: str) -> bool:
    word = text.strip().lower()
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise ValueError(f"{text!r} is neither true nor false")


def parse_list(text: str) -> tuple[str, ...]:
    """Split a comma-separated list; blanks are dropped."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def parse_numbers(text: str) -> tuple[float, ...]:
    return tuple(map(parse_number, parse_list(text)))


def parse_integers(text: str) -> tuple[int, ...]:
    return tuple(map(parse_integer, parse_list(text)))
