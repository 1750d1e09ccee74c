"""Compiled packages for the machine at hand.

The emulator runs functions on the host's own interpreter, but `sam build` brings Linux wheels, as Lambda
needs them. On any other host the same locked packages are installed over them.
"""

import shutil
from pathlib import Path

from tools.local import environment
from tools.local.home import LOCAL, ROOT
from tools.local.programs import run


def reinstall(artifacts: Path) -> list[Path]:
    """Install the locked packages of every built folder again, for this host; the folders touched."""
    pairs = targets(artifacts)
    for lock, folder in pairs:
        command = [uv(), "pip", "install", "--quiet", "--reinstall", "--no-deps", "--require-hashes"]
        where: list[str | Path] = ["--python", ROOT / ".venv", "--target", folder, "--requirement", lock]
        run([*command, *where], environment=environment.clean(), what=f"uv pip install of {lock}")
    return [folder for _, folder in pairs]


def targets(artifacts: Path) -> list[tuple[Path, Path]]:
    """(lock file, built folder) of the layer and of every function that has libraries of its own."""
    packages = artifacts.glob("*/python/replicate_proxy")
    layers = [(ROOT / "layers/common/python", package.parent) for package in packages]
    functions = [
        (lock.parent, artifacts / f"{lock.parent.name.capitalize()}Function")
        for lock in sorted((ROOT / "functions").glob("*/requirements.txt"))
    ]
    return [(source / "requirements.txt", folder) for source, folder in layers + functions if folder.is_dir()]


def uv() -> str:
    """The uv that made the environments: the user's own, or the fetched one."""
    return shutil.which("uv") or str(LOCAL / "bootstrap/bin/uv")
