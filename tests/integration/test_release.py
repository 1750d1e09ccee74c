"""The validation of a release, as a program, against a stack that holds and one that does not."""

from __future__ import annotations

import os
import subprocess
import sys

from tools.local.paths import ROOT
from tools.local.stack import Stack


def validate(url: str, key: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "release", "validate", "--url", url, "--patience", "60"],
        cwd=ROOT,
        env=os.environ | {"PROXY_API_KEY": key},
        capture_output=True,
        encoding="utf-8",
        timeout=240,
        check=False,
    )


def test_the_stack_keeps_every_promise(stack: Stack) -> None:
    done = validate(stack.api_url, stack.api_key)

    assert done.returncode == 0, done.stdout + done.stderr
    assert [line[0] for line in done.stdout.splitlines()] == ["✓"] * 7


def test_a_key_that_may_not_run_predictions_proves_nothing(stack: Stack) -> None:
    done = validate(stack.api_url, stack.api_key[:-1])

    assert done.returncode == 1
    assert "✗ a prediction succeeds: 401" in done.stdout
