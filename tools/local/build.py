"""`sam build` for the local stack, in a folder of its own beside the `.aws-sam` of a build for AWS."""

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

_SOURCES = (
    "template.yaml",
    "infrastructure/*.yaml",
    "functions/**/*",
    "layers/common/**/*",
    "tools/local/template.py",
)
_IGNORED = {"__pycache__", ".build", ".mypy_cache", ".ruff_cache"}
_FINGERPRINT_FILE = DIRECTORY / "built"
"""Exists from the end of a build to the beginning of the next."""


def build() -> Path:
    """Return the built template; build only if a source changed."""
    fingerprint = fingerprint_sources()
    is_current = _FINGERPRINT_FILE.exists() and _FINGERPRINT_FILE.read_text(encoding="utf-8") == fingerprint
    if not (TEMPLATE.exists() and is_current):
        _FINGERPRINT_FILE.unlink(missing_ok=True)
        _run_sam_build()
        _FINGERPRINT_FILE.write_text(fingerprint, encoding="utf-8")
    return TEMPLATE


def fingerprint_sources() -> str:
    """Hash the sources of the deployed template and code, and the machine that they are built for."""
    digest = hashlib.sha256(platform.platform().encode())
    for pattern in _SOURCES:
        for path in sorted(ROOT.glob(pattern)):
            if path.is_file() and not _IGNORED.intersection(path.parts):
                digest.update(f"{path}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def get_host_architecture() -> str:
    """Return AWS's name of the host's processor, on which the functions run."""
    return "arm64" if platform.machine().lower() in {"arm64", "aarch64"} else "x86_64"


def _run_sam_build() -> None:
    run(
        [
            SAM / "sam",
            *("build", "--cached", "--parallel", "--template-file", ROOT / "template.yaml"),
            *("--build-dir", TEMPLATE.parent, "--cache-dir", DIRECTORY / "cache"),
            *("--config-file", _write_empty_config()),
            *("--parameter-overrides", f"Architecture={get_host_architecture()}"),
        ],
        environment=environment.clean()
        | {
            "PATH": f"{SAM}:{environment.clean()['PATH']}",  # python3.13 with pip
            "AWS_DEFAULT_REGION": environment.REGION,
            "SAM_CLI_TELEMETRY": "0",
        },
        what="sam build",
    )
    reinstalled = wheels.reinstall(TEMPLATE.parent) if platform.system() != "Linux" else []
    _compile([*(handler.parent for handler in TEMPLATE.parent.glob("*/app.py")), *reinstalled])


def _compile(folders: Sequence[Path]) -> None:
    """Compile the functions; the build of the layer has compiled the layer.

    The emulator unpacks the files for each worker without their times, so byte code is checked by no time.
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


def _write_empty_config() -> Path:
    """Write an empty configuration, so that the settings for AWS in samconfig.toml do not apply."""
    path = DIRECTORY / "samconfig.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("version = 0.1\n", encoding="utf-8")
    return path
