"""Running a program to its end: quiet when it succeeds, its own words when it fails."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tools.local.errors import LocalError
from tools.local.home import ROOT

TAIL_LINES = 40


def run(command: Sequence[str | Path], *, environment: Mapping[str, str], what: str) -> str:
    """Its output; raises `LocalError` with the last lines of it when it exits with anything but 0."""
    result = subprocess.run(
        [str(part) for part in command],
        env=dict(environment),
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if result.returncode != 0:
        tail = "\n".join(result.stdout.splitlines()[-TAIL_LINES:])
        raise LocalError(f"{what} failed with exit code {result.returncode}:\n{tail}")
    return result.stdout
