"""The validation of releases, run as a command against the local stack."""

from __future__ import annotations

import os
import subprocess
import sys

from tools.local.paths import ROOT
from tools.local.stack import Stack


def _validate(url: str, api_key: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tools.release", "validate", "--url", url, "--timeout", "60"],
        cwd=ROOT,
        env=os.environ | {"PROXY_API_KEY": api_key},
        capture_output=True,
        encoding="utf-8",
        timeout=240,
        check=False,
    )


def test_validation_passes_for_the_local_stack(stack: Stack) -> None:
    result = _validate(stack.api_url, stack.api_key)

    assert result.returncode == 0, result.stdout + result.stderr
    assert [line[0] for line in result.stdout.splitlines()] == ["✓"] * 7


def test_validation_fails_when_key_is_invalid(stack: Stack) -> None:
    result = _validate(stack.api_url, stack.api_key[:-1])

    assert result.returncode == 1
    assert "✗ a prediction succeeds: 401" in result.stdout
