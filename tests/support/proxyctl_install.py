"""Installs proxyctl from the repository into an environment of its own, without a network."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tools.local.paths import ROOT


def install_proxyctl(folder: Path) -> Path:
    """Install the package by `uv pip install` and return the path of its script.

    uv builds it with its own copy of the build backend. The dependencies are those of this environment, which
    a `.pth` file adds; the package itself is not in it.
    """
    uv = _find_uv()
    for command in (
        ["venv", "--quiet", "--python", sys.executable, str(folder)],
        ["pip", "install", "--quiet", "--offline", "--no-deps", "--python", str(folder), str(ROOT)],
    ):
        subprocess.run([uv, *command], check=True, capture_output=True, text=True, timeout=120)
    [packages] = folder.glob("lib/python*/site-packages")
    # Without the lines of the environment's own .pth files, which name the repository.
    (packages / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n", encoding="utf-8")
    return folder / "bin/proxyctl"


def _find_uv() -> str:
    """Return the path of uv: on the PATH, or where `make env` has installed it."""
    repositories = (ROOT, Path(sys.prefix).resolve().parent)
    installed = (repository / ".local/bootstrap/bin/uv" for repository in repositories)
    path = shutil.which("uv") or next((str(file) for file in installed if file.is_file()), None)
    if path is None:
        pytest.fail("uv is neither on the PATH nor in .local/bootstrap: run `make env` first")
    return path
