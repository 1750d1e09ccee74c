"""`sam build` for local stacks, in `.local/build`; a build for AWS goes to `.aws-sam`.

The emulator runs functions with the host's own Python. `sam build` installs packages for Linux, as Lambda
needs them, so on another host the same locked packages are installed over them.
"""

import hashlib
import platform
import shutil
from collections.abc import Sequence
from pathlib import Path

from tools.local import emulator
from tools.local.paths import LOCAL_FOLDER, ROOT
from tools.local.processes import clean_environment, run_command

BUILD_FOLDER = LOCAL_FOLDER / "build"
SAM_BIN = ROOT / ".venvs/sam/bin"
EMULATOR_PYTHON = ROOT / ".venvs/ministack/bin/python"

_SOURCES = (
    "template.yaml",
    "infrastructure/*.yaml",
    "functions/**/*",
    "layers/common/**/*",
    "tools/local/template.py",
)
_IGNORED_FOLDERS = {"__pycache__", ".build", ".mypy_cache", ".ruff_cache"}


def build_template(*, for_containers: bool = False) -> Path:
    """Return the built template; build only if a source changed.

    A build for containers has Linux packages. On Linux, that is the build for the emulator.
    """
    is_separate = for_containers and platform.system() != "Linux"
    folder = BUILD_FOLDER / ("container-artifacts" if is_separate else "artifacts")
    template, fingerprint_file = folder / "template.yaml", BUILD_FOLDER / f"{folder.name}.built"
    fingerprint = fingerprint_sources()
    is_current = fingerprint_file.exists() and fingerprint_file.read_text(encoding="utf-8") == fingerprint
    if not (template.exists() and is_current):
        fingerprint_file.unlink(missing_ok=True)  # Absent while a build runs and after a failed one.
        _run_sam_build(folder)
        if not for_containers:
            _prepare_for_host(folder)
        fingerprint_file.write_text(fingerprint, encoding="utf-8")
    return template


def fingerprint_sources() -> str:
    """Hash the sources of the deployed template and code, and the machine that they are built for."""
    digest = hashlib.sha256(platform.platform().encode())
    for pattern in _SOURCES:
        for path in sorted(ROOT.glob(pattern)):
            if path.is_file() and not _IGNORED_FOLDERS.intersection(path.parts):
                digest.update(f"{path}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def get_host_architecture() -> str:
    """Return AWS's name of the host's processor, on which the functions run."""
    return "arm64" if platform.machine().lower() in {"arm64", "aarch64"} else "x86_64"


def _run_sam_build(folder: Path) -> None:
    run_command(
        [
            SAM_BIN / "sam",
            *("build", "--cached", "--parallel", "--template-file", ROOT / "template.yaml"),
            *("--build-dir", folder, "--cache-dir", BUILD_FOLDER / "cache"),
            *("--config-file", _write_empty_config()),
            *("--parameter-overrides", f"Architecture={get_host_architecture()}"),
        ],
        environment=clean_environment()
        | {
            "PATH": f"{SAM_BIN}:{clean_environment()['PATH']}",  # sam needs python3.13 with pip
            "AWS_DEFAULT_REGION": emulator.REGION,
            "SAM_CLI_TELEMETRY": "0",
        },
        description="sam build",
    )


def _prepare_for_host(folder: Path) -> None:
    """Install the host's packages where they differ from Lambda's, and compile the functions."""
    reinstalled = _install_host_packages(folder) if platform.system() != "Linux" else []
    _compile([*(handler.parent for handler in folder.glob("*/app.py")), *reinstalled])


def _write_empty_config() -> Path:
    """Write an empty configuration, so that the settings for AWS in samconfig.toml do not apply."""
    path = BUILD_FOLDER / "samconfig.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("version = 0.1\n", encoding="utf-8")
    return path


def _compile(folders: Sequence[Path]) -> None:
    """Compile the functions; the build of the layer has compiled the layer.

    The emulator unpacks the files for each worker without their modification times, so Python must not
    compare these with the times in the byte code.
    """
    run_command(
        [
            *(EMULATOR_PYTHON, "-m", "compileall", "-q"),
            *("--invalidation-mode", "unchecked-hash"),
            *folders,
        ],
        environment=clean_environment(),
        description="compiling the built functions",
    )


def _install_host_packages(artifacts: Path) -> list[Path]:
    """Install the locked packages for this host into the built folders, and return these folders."""
    package_folders = list_package_folders(artifacts)
    for lock_file, folder in package_folders:
        run_command(
            [
                *(_find_uv(), "pip", "install", "--quiet", "--reinstall", "--no-deps", "--require-hashes"),
                *("--python", ROOT / ".venv", "--target", folder, "--requirement", lock_file),
            ],
            environment=clean_environment(),
            description=f"uv pip install of {lock_file}",
        )
    return [folder for _, folder in package_folders]


def list_package_folders(artifacts: Path) -> list[tuple[Path, Path]]:
    """Return (lock file, built folder) of the layer and of every built function that has its own packages."""
    packages = artifacts.glob("*/python/replicate_proxy")
    layers = [(ROOT / "layers/common/python", package.parent) for package in packages]
    sources = layers + list_function_folders(artifacts)
    return [(source / "requirements.txt", folder) for source, folder in sources]


def list_function_folders(artifacts: Path) -> list[tuple[Path, Path]]:
    """Return (source folder, built folder) of every built function that has its own packages."""
    folders = [
        (lock_file.parent, artifacts / f"{lock_file.parent.name.capitalize()}Function")
        for lock_file in sorted((ROOT / "functions").glob("*/requirements.txt"))
    ]
    return [(source, folder) for source, folder in folders if folder.is_dir()]


def _find_uv() -> str:
    """Return the path of uv: the installed one, or the one that `make env` fetched."""
    return shutil.which("uv") or str(LOCAL_FOLDER / "bootstrap/bin/uv")
