"""The target of a release: an environment of samconfig.toml."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tools.release.errors import ReleaseError

if TYPE_CHECKING:
    from pathlib import Path


MAX_STACK_NAME_LENGTH = 48
"""tests/template checks that all names in the template fit then."""


@dataclass(frozen=True)
class Target:
    """`region` is None if samconfig.toml does not set it; then the AWS settings of the shell apply."""

    config_env: str
    stack_name: str
    region: str | None


def read_target(config: Path, config_env: str) -> Target:
    """Read the environment.

    Raises `ReleaseError` if it does not exist, or has no `stack_name` or one that is too long.
    """
    try:
        environments: dict[str, Any] = tomllib.loads(config.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ReleaseError(f"cannot read {config}: {error}") from error
    if not isinstance(environments.get(config_env), dict):
        names = ", ".join(sorted(name for name, value in environments.items() if isinstance(value, dict)))
        raise ReleaseError(f"{config.name} has no environment {config_env}; its environments are {names}")
    stack_name = _get_setting(environments[config_env], "stack_name")
    if stack_name is None:
        raise ReleaseError(f"the environment {config_env} of {config.name} has no stack_name")
    if len(stack_name) > MAX_STACK_NAME_LENGTH:
        raise ReleaseError(
            f"the stack name {stack_name} is too long: resources are named after the stack, so it may have"
            f" {MAX_STACK_NAME_LENGTH} characters at most"
        )
    return Target(config_env, stack_name, _get_setting(environments[config_env], "region"))


def _get_setting(environment: dict[str, Any], name: str) -> str | None:
    """Return the value for `deploy`, or else that for all commands, as SAM does."""
    for command in ("deploy", "global"):
        value = environment.get(command, {}).get("parameters", {}).get(name)
        if value is not None:
            return str(value)
    return None
