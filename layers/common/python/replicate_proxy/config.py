"""Typed reading of environment variables. Settings classes lie beside what they configure; `bootstrap` fills
them.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from replicate_proxy.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping


_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off", ""})


class Env:
    """A view of the environment whose getters name the variable in every error.

    A getter without `default` demands the variable; an empty value counts as absent.
    """

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values

    def text(self, name: str, default: str | None = None) -> str:
        value = self._values.get(name, "")
        if value:
            return value
        if default is None:
            raise ConfigurationError(f"environment variable {name} is not set")
        return default

    def integer(self, name: str, default: int | None = None) -> int:
        return int(self.number(name, default))

    def number(self, name: str, default: float | None = None) -> float:
        text = self.text(name, None if default is None else str(default))
        try:
            return float(text)
        except ValueError:
            raise ConfigurationError(f"environment variable {name} is not a number") from None

    def flag(self, name: str, *, default: bool = False) -> bool:
        text = self._values.get(name, "true" if default else "").strip().lower()
        if text in _TRUE:
            return True
        if text in _FALSE:
            return False
        raise ConfigurationError(f"environment variable {name} is neither true nor false")

    def names(self, name: str, default: str = "") -> tuple[str, ...]:
        """A comma-separated list, blanks dropped."""
        return tuple(part.strip() for part in self.text(name, default).split(",") if part.strip())


def read_local_settings(values: Mapping[str, str]) -> Mapping[str, Any]:
    """What only the local stack may set (`LOCAL_SETTINGS`, JSON object), for instance `allow_loopback`.

    Read only where the AWS endpoint itself is on loopback: a deployment to AWS cannot switch a guard off with
    it, whatever its variables say.
    """
    endpoint = urlsplit(values.get("AWS_ENDPOINT_URL", "")).hostname
    text = values.get("LOCAL_SETTINGS", "")
    if endpoint not in {"127.0.0.1", "localhost", "::1"} or not text:
        return {}
    loaded = json.loads(text)
    if not isinstance(loaded, dict):
        raise ConfigurationError("environment variable LOCAL_SETTINGS is not a JSON object")
    return loaded
