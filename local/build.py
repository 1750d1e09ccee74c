"""`sam build` of template.yaml for the local stack, apart from the `.aws-sam` of a build for AWS."""

import platform
from collections.abc import Sequence
from pathlib import Path

from local import environment, wheels
from local.home import LOCAL, ROOT
from local.programs import run

DIRECTORY = LOCAL / "build"
TEMPLATE = DIRECTORY / "artifacts" / "template.yaml"
SAM = ROOT / ".venvs/sam/bin"
EMULATOR_PYTHON = ROOT / ".venvs/ministack/bin/python"


def architecture() -> str:
    """The host's, in AWS's words: functions run on the host's processor."""
    return "arm64" if platform.machine().lower() in {"arm64", "aarch64"} else "x86_64"


def build() -> Path:
    """Build what changed since the last time; the built template."""
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
    return TEMPLATE


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
