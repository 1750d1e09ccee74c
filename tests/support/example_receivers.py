"""The receivers in examples/ as programs of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES = Path(__file__).parents[2] / "examples"
NODE_MODULES = EXAMPLES.parent / "tests/integration/clients_js/node_modules"
RECEIVERS = ["python", "javascript"]


@contextmanager
def running(language: str, secret: str) -> Iterator[tuple[str, IO[str]]]:
    """The receiver's address and what it prints."""
    environment = {**os.environ, "WEBHOOK_SECRET": secret, "PORT": "0", "NODE_PATH": str(NODE_MODULES)}
    with subprocess.Popen(
        _command(language),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    ) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip().removeprefix("listening on "), process.stdout
        finally:
            process.terminate()


def _command(language: str) -> list[str]:
    if language == "python":
        return [sys.executable, str(EXAMPLES / "receiver_python/receiver.py")]
    node = shutil.which("node")
    if node is None or not (NODE_MODULES / "replicate").is_dir():
        pytest.skip("NOT CHECKED: the JavaScript receiver; needs node and `make clients-js`")
    return [node, str(EXAMPLES / "receiver_javascript/receiver.cjs")]
