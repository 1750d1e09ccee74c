"""Where a release goes: one environment of samconfig.toml."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tools.release.errors import ReleaseError

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Target:
    """`region` is None where samconfig.toml leaves it to the AWS settings of the shell."""

    config_env: str
    stack_name: str
    region: str | None


def read_target(config: Path, config_env: str) -> Target:
    """Raises `ReleaseError` where samconfig.toml has no such environment, or no stack's name in it."""
    try:
        environments: dict[str, Any] = tomllib.loads(config.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ReleaseError(f"{config} cannot be read: {error}") from error
    if not isinstance(environments.get(config_env), dict):
        known = ", ".join(sorted(name for name, value in environments.items() if isinstance(value, dict)))
        raise ReleaseError(f"{config.name} has no environment {config_env}; it has {known}")
    name = _setting(environments[config_env], "stack_name")
    if name is None:
        raise ReleaseError(f"{config.name} gives the environment {config_env} no stack_name")
    return Target(config_env, name, _setting(environments[config_env], "region"))


def _setting(environment: dict[str, Any], name: str) -> str | None:
    """Of `deploy`, else of all commands: the order in which SAM reads them."""
    for command in ("deploy", "global"):
        value = environment.get(command, {}).get("parameters", {}).get(name)
        if value is not None:
            return str(value)
    return None
