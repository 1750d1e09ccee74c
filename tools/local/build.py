"""`sam build` of template.yaml for the local stack, apart from the `.aws-sam` of a build for AWS."""

import hashlib
import platform
from collections.abc import Sequence
from pathlib import Path

from tools.local import environment, wheels
from tools.local.home import LOCAL, ROOT
from tools.local.programs import run

DIRECTORY = LOCAL / "build"
TEMPLATE = DIRECTORY / "artifacts" / "template.yaml"
SAM = ROOT / ".venvs/sam/bin"
EMULATOR_PYTHON = ROOT / ".venvs/ministack/bin/python"

_SOURCES = ("template.yaml", "infrastructure/*.yaml", "functions/**/*", "layers/common/**/*")
_IGNORED = {"__pycache__", ".build", ".mypy_cache", ".ruff_cache"}
_BUILT = DIRECTORY / "built"
"""Holds the fingerprint of what was built, from the end of a build to the beginning of the next."""


def architecture() -> str:
    """The host's, in AWS's words: functions run on the host's processor."""
    return "arm64" if platform.machine().lower() in {"arm64", "aarch64"} else "x86_64"


def fingerprint() -> str:
    """Of the sources of a build, and of the machine it is for."""
    digest = hashlib.sha256(platform.platform().encode())
    for pattern in _SOURCES:
        for path in sorted(ROOT.glob(pattern)):
            if path.is_file() and not _IGNORED.intersection(path.parts):
                digest.update(f"{path}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def build() -> Path:
    """The built template; built anew only where something changed."""
    now = fingerprint()
    if not (TEMPLATE.exists() and _BUILT.exists() and _BUILT.read_text(encoding="utf-8") == now):
        _BUILT.unlink(missing_ok=True)
        _build()
        _BUILT.write_text(now, encoding="utf-8")
    return TEMPLATE


def _build() -> None:
    run(
        [
            SAM / "sam",
            *("build", "--cached", "--parallel", "--template-file", ROOT / "template.yaml"),
            *("--build-dir", TEMPLATE.parent, "--cache-dir", DIRECTORY / "cache"),
            *("--config-file", _no_config(), "--parameter-overrides", f"Architecture={architecture()}"),
        ],
        environment=environment.clean()
        | {
            "PATH": f"{SAM}:{environment.clean()['PATH']}",  # python3.13 with pip
            "AWS_DEFAULT_REGION": environment.REGION,
            "SAM_CLI_TELEMETRY": "0",
        },
        what="sam build",
    )
    touched = wheels.reinstall(TEMPLATE.parent) if platform.system() != "Linux" else []
    _compile([*(handler.parent for handler in TEMPLATE.parent.glob("*/app.py")), *touched])


def _compile(folders: Sequence[Path]) -> None:
    """Byte code beside the sources: the emulator unpacks them for each worker anew, without their times.

    The layer's own build has compiled the layer.
    """
    run(
        [
            *(EMULATOR_PYTHON, "-m", "compileall", "-q"),
            *("--invalidation-mode", "unchecked-hash"),
            *folders,
        ],
        environment=environment.clean(),
        what="compiling the built functions",
    )


def _no_config() -> Path:
    """An empty configuration, so that samconfig.toml's settings for AWS play no part here."""
    path = DIRECTORY / "samconfig.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("version = 0.1\n", encoding="utf-8")
    return path
