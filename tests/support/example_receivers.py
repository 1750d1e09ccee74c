"""Run the example receivers of `examples/` as programs of their own."""

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
LANGUAGES = ["python", "javascript"]


@contextmanager
def run_receiver(language: str, secret: str) -> Iterator[tuple[str, IO[str]]]:
    """Run a receiver; yield its URL and its standard output."""
    with subprocess.Popen(
        _build_command(language),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=_build_environment(secret),
    ) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip().removeprefix("listening on "), process.stdout
        finally:
            process.terminate()


def start_receiver(language: str, secret: str | None) -> subprocess.CompletedProcess[str]:
    """Run a receiver that ends by itself; None leaves the variable of the secret unset."""
    return subprocess.run(
        _build_command(language),
        env=_build_environment(secret),
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def _build_environment(secret: str | None) -> dict[str, str]:
    environment = {**os.environ, "PORT": "0", "NODE_PATH": str(NODE_MODULES)}
    environment.pop("WEBHOOK_SECRET", None)
    return environment if secret is None else {**environment, "WEBHOOK_SECRET": secret}


def _build_command(language: str) -> list[str]:
    if language == "python":
        return [sys.executable, str(EXAMPLES / "receiver_python/receiver.py")]
    node = shutil.which("node")
    if node is None or not (NODE_MODULES / "replicate").is_dir():
        pytest.skip("NOT CHECKED: the JavaScript receiver; needs node and `make clients-js`")
    return [node, str(EXAMPLES / "receiver_javascript/receiver.cjs")]
