"""The environment of programs that a stack starts: the user's, less what could reach the real AWS."""

import os
from collections.abc import Mapping

REGION = "us-east-1"
ACCESS_KEY = "test"
SECRET_KEY = "test"  # noqa: S105 - the emulator's well-known administrator, on loopback only
MARK = "REPLICATE_PROXY_LOCAL_STACK"
"""Carried by every process of a stack and by their children, so that `down` finds them all."""

_DROPPED_PREFIXES = ("AWS_", "SAM_", "REPLICATE_", "POWERTOOLS_")
_DROPPED = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "BOTO_CONFIG"}
_KEPT = {"AWS_CA_BUNDLE"}  # Trust store of the machine, not an account.


def clean(base: Mapping[str, str] | None = None) -> dict[str, str]:
    """The given environment (default: this process's) without AWS settings, tokens and Python paths."""
    base = os.environ if base is None else base
    return {
        key: value
        for key, value in base.items()
        if key in _KEPT or (key not in _DROPPED and not key.startswith(_DROPPED_PREFIXES))
    }


def with_credentials(endpoint_url: str) -> dict[str, str]:
    """For AWS's own tools: the emulator's address and its made-up credentials, nothing of the user's."""
    return clean() | {
        "AWS_ENDPOINT_URL": endpoint_url,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "SAM_CLI_TELEMETRY": "0",
    }
