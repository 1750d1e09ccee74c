import subprocess
import sys
from pathlib import Path

import pytest

from tools.local import deploy, paths
from tools.local.paths import StackFolder


@pytest.fixture
def stack_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StackFolder:
    monkeypatch.setattr(paths, "LOCAL_FOLDER", tmp_path / "a folder: with 'signs'")
    created = StackFolder("unit")
    created.create()
    return created


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """The template of a build whose layer contains one package."""
    package = tmp_path / "built/CommonLayer/python/replicate_proxy"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("VERSION = 'built'\n", "utf-8")
    return tmp_path / "built/template.yaml"


def _import_version(folder: Path) -> str:
    site = next(folder.glob("python/lib/python3.*/site-packages"))
    program = (
        f"import site; site.addsitedir({str(site)!r}); import replicate_proxy; print(replicate_proxy.VERSION)"
    )
    result = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    return result.stdout.strip()


def test_deployed_layer_is_one_file_that_imports_what_was_built(stack_home: StackFolder, built: Path) -> None:
    folder = deploy.unpack_layer(stack_home, built, "first")

    assert len([path for path in folder.rglob("*") if path.is_file()]) == 1
    assert _import_version(folder) == "built"


def test_new_deployment_does_not_change_the_layer_of_the_one_before(
    stack_home: StackFolder, built: Path
) -> None:
    first = deploy.unpack_layer(stack_home, built, "first")
    (built.parent / "CommonLayer/python/replicate_proxy/__init__.py").write_text("VERSION = 'new'\n", "utf-8")
    second = deploy.unpack_layer(stack_home, built, "second")

    assert (_import_version(first), _import_version(second)) == ("built", "new")


def test_layers_of_other_deployments_are_removed(stack_home: StackFolder, built: Path) -> None:
    for deployment in ("first", "second", "third"):
        deploy.unpack_layer(stack_home, built, deployment)

    deploy.remove_other_layers(stack_home, "second", "third")

    assert {folder.name for folder in stack_home.layers_folder.iterdir()} == {"second", "third"}
