"""Which stack the commands work on: the one that the environment names, or the running local one."""

from __future__ import annotations

import ipaddress
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

URL_VARIABLE = "REPLICATE_PROXY_URL"
KEY_VARIABLE = "REPLICATE_PROXY_ADMIN_KEY"
_KEY_PATTERN = re.compile(r"[\x21-\x7e]+")
_STACK_FILE = Path(".local/stack.json")


class ConnectionSettingsError(Exception):
    """The address or the key of the stack is missing or unusable."""


@dataclass(frozen=True)
class Connection:
    """A stack's address and admin key. `endpoint_url` is that of the emulated AWS, None on AWS itself."""

    url: str
    admin_key: str = field(repr=False)
    endpoint_url: str | None = None
    region: str | None = None

    def create_logs_client(self) -> Any:
        """Return a boto3 client of CloudWatch Logs. Raises ConnectionSettingsError if boto3 is missing."""
        try:
            import boto3  # noqa: PLC0415 - an extra: only the logs of a story need it
        except ImportError:
            raise ConnectionSettingsError(
                "--logs needs boto3: install proxyctl with its extra, for example `uv tool install '.[logs]'`"
            ) from None
        if self.endpoint_url is None:
            return boto3.client("logs")
        return boto3.client(
            "logs",
            endpoint_url=self.endpoint_url,
            region_name=self.region,
            # The well-known administrator of the emulator, on loopback only.
            aws_access_key_id="test",
            aws_secret_access_key="test",  # noqa: S106
        )


def read_environment(variables: Mapping[str, str]) -> Connection:
    """Read URL and key from the environment: command lines are visible to other users of a machine.

    Raises ConnectionSettingsError if one of them is missing or cannot be sent, or the key would be sent
    unencrypted.
    """
    for name in (URL_VARIABLE, KEY_VARIABLE):
        if not variables.get(name, "").strip():
            raise ConnectionSettingsError(
                f"{name} is not set; set {URL_VARIABLE} to the output ApiUrl of the stack and {KEY_VARIABLE} "
                "to a key with the scope admin, or use --local for the local stack"
            )
    url, key = variables[URL_VARIABLE].strip(), variables[KEY_VARIABLE].strip()
    _require_safe_url(url)
    if not _KEY_PATTERN.fullmatch(key):
        raise ConnectionSettingsError(
            f"{KEY_VARIABLE} is not a key: it has blanks or characters beyond ASCII"
        )
    return Connection(url, key)


def read_local_stack(folder: Path) -> Connection:
    """Read `.local/stack.json` of the folder or of one above it, which `make up` writes.

    Raises ConnectionSettingsError if there is none, or an unreadable one.
    """
    files = [parent / _STACK_FILE for parent in (folder, *folder.parents)]
    path = next((file for file in files if file.is_file()), None)
    if path is None:
        raise ConnectionSettingsError(
            "no local stack is running here; run `make up` in the repository, and proxyctl below it"
        )
    try:
        stack = json.loads(path.read_text(encoding="utf-8"))
        return Connection(stack["api_url"], stack["admin_key"], stack["endpoint_url"], stack["region"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConnectionSettingsError(f"cannot read {path}; run `make up` again") from error


def _require_safe_url(url: str) -> None:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ConnectionSettingsError(f"{URL_VARIABLE} is not a URL: {error}") from error
    if parts.scheme == "https" and parts.hostname:
        return
    if parts.scheme == "http" and _is_loopback(parts.hostname or ""):
        return
    raise ConnectionSettingsError(f"{URL_VARIABLE} must be an https URL, or http on this machine")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
