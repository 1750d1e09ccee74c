"""The package can be installed from the repository, and needs nothing else of it."""

from __future__ import annotations

import subprocess
import tomllib
from typing import TYPE_CHECKING

import pytest

from tests.support.proxyctl_install import install_proxyctl
from tools.local.paths import ROOT

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install_proxyctl(tmp_path_factory.mktemp("proxyctl") / "environment")


def run_script(script: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/bin:/bin"}
    command = [str(script), *arguments]
    return subprocess.run(
        command, cwd=script.parent, env=environment, capture_output=True, text=True, check=False, timeout=60
    )


def test_installed_script_shows_its_help(script: Path) -> None:
    shown = run_script(script, "--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith("Usage: proxyctl")


def test_installed_script_names_what_is_missing(script: Path) -> None:
    shown = run_script(script, "keys", "list")
    assert shown.returncode == 2
    assert "REPLICATE_PROXY_URL is not set" in shown.stderr


def test_installed_package_has_nothing_else_of_the_repository(script: Path) -> None:
    code = "import proxyctl.cli, sys; print(sorted({name.partition('.')[0] for name in sys.modules}))"
    shown = run_script(script.with_name("python"), "-I", "-c", code)
    assert shown.returncode == 0, shown.stderr
    assert "'replicate_proxy'" not in shown.stdout
    assert "'tools'" not in shown.stdout
    [files] = script.parent.parent.glob("lib/python*/site-packages/replicate_proxy-*.dist-info/RECORD")
    folders = {line.partition("/")[0] for line in files.read_text(encoding="utf-8").splitlines()}
    assert folders - {".."} == {"proxyctl", files.parent.name}


def test_dependencies_name_no_registry_and_leave_the_functions_alone() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    names = {name.partition(">")[0] for name in project["project"]["dependencies"]}
    assert names == {"click", "requests", "rich"}
    assert "index" not in project["tool"]["uv"]
