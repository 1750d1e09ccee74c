import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tools.local import deploy, paths
from tools.local.paths import StackFolder


@pytest.fixture
def stack_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StackFolder:
    """A stack folder with a path that needs quotes."""
    monkeypatch.setattr(paths, "LOCAL_FOLDER", tmp_path / "a folder: with 'signs'")
    folder = StackFolder("unit")
    folder.create()
    return folder


@pytest.fixture
def built_template(tmp_path: Path) -> Path:
    """The template of a build whose layer contains one package."""
    package = tmp_path / "built/CommonLayer/python/replicate_proxy"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("VERSION = 'built'\n", "utf-8")
    return tmp_path / "built/template.yaml"


def test_recorded_fingerprint_equals_that_of_an_unchanged_deployment(stack_folder: StackFolder) -> None:
    deploy.record_fingerprint(stack_folder, deploy.fingerprint_deployment({"Stage": "local"}, "1@2"))

    assert deploy.read_fingerprint(stack_folder) == deploy.fingerprint_deployment({"Stage": "local"}, "1@2")


@pytest.mark.parametrize(("stage", "generation"), [("other", "1@2"), ("local", "9@9")])
def test_fingerprint_differs_with_another_parameter_or_emulator(
    stack_folder: StackFolder, stage: str, generation: str
) -> None:
    deploy.record_fingerprint(stack_folder, deploy.fingerprint_deployment({"Stage": "local"}, "1@2"))

    fingerprint = deploy.fingerprint_deployment({"Stage": stage}, generation)

    assert deploy.read_fingerprint(stack_folder) != fingerprint


def test_fingerprint_is_empty_before_the_first_deployment(stack_folder: StackFolder) -> None:
    assert deploy.read_fingerprint(stack_folder) == ""


def test_config_file_keeps_quotes_commas_and_line_breaks_of_values(stack_folder: StackFolder) -> None:
    path = deploy._write_config(stack_folder, {"Schedule": '{"a":"b, c"}', "Empty": "", "Key": "a\nb\n"})

    parameters = tomllib.loads(path.read_text(encoding="utf-8"))["default"]["deploy"]["parameters"]
    assert parameters["parameter_overrides"] == [
        'Schedule="{\\"a\\":\\"b, c\\"}"',
        'Empty=""',
        'Key="a\nb\n"',
    ]


def test_deployed_layer_is_one_file_that_imports_what_was_built(
    stack_folder: StackFolder, built_template: Path
) -> None:
    folder = deploy.unpack_layer(stack_folder, built_template, "first")

    assert len([path for path in folder.rglob("*") if path.is_file()]) == 1
    assert _import_version(folder) == "built"


def test_new_deployment_does_not_change_the_layer_of_the_one_before(
    stack_folder: StackFolder, built_template: Path
) -> None:
    first = deploy.unpack_layer(stack_folder, built_template, "first")
    package = built_template.parent / "CommonLayer/python/replicate_proxy"
    (package / "__init__.py").write_text("VERSION = 'new'\n", "utf-8")
    second = deploy.unpack_layer(stack_folder, built_template, "second")

    assert (_import_version(first), _import_version(second)) == ("built", "new")


def test_packages_of_a_function_are_imported_from_beside_the_layer(
    stack_folder: StackFolder, built_template: Path
) -> None:
    function = built_template.with_name("AuthorizeFunction")
    for folder in ("__pycache__", "jwt"):
        (function / folder).mkdir(parents=True)
    (function / "jwt/__init__.py").write_text("VERSION = 'of the function'\n", "utf-8")
    (function / "app.py").write_text("", "utf-8")

    layer = deploy.unpack_layer(stack_folder, built_template, "first")
    deploy.unpack_packages(built_template, layer)

    assert {path.name for path in function.iterdir()} == {"__pycache__", "app.py"}
    name = f"{deploy.STACK_NAME}-authorize"
    assert _import_version(layer, "jwt", function_name=name) == "of the function"
    assert _import_version(layer, function_name=name) == "built"


def test_layers_of_other_deployments_are_removed(stack_folder: StackFolder, built_template: Path) -> None:
    for deployment in ("first", "second", "third"):
        deploy.unpack_layer(stack_folder, built_template, deployment)

    deploy.remove_other_layers(stack_folder, "second", "third")

    assert {folder.name for folder in stack_folder.layers_folder.iterdir()} == {"second", "third"}


def test_build_that_follows_does_not_change_what_is_deployed(built_template: Path, tmp_path: Path) -> None:
    built_template.write_text("Resources: {}\n", "utf-8")

    copy = deploy.copy_build(built_template, tmp_path / "package")
    shutil.rmtree(built_template.parent)

    assert copy.read_text("utf-8") == "Resources: {}\n"
    package = copy.parent / "CommonLayer/python/replicate_proxy"
    assert (package / "__init__.py").read_text("utf-8") == "VERSION = 'built'\n"


def _import_version(layer: Path, package: str = "replicate_proxy", *, function_name: str = "") -> str:
    """Import the package from the deployed layer in another process, as a function of this name does."""
    site = next(layer.glob("python/lib/python3.*/site-packages"))
    program = f"import site; site.addsitedir({str(site)!r}); import {package}; print({package}.VERSION)"
    result = subprocess.run(
        [sys.executable, "-I", "-c", program],
        env={"AWS_LAMBDA_FUNCTION_NAME": function_name},
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout.strip()
