import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tools.local import home, layer
from tools.local.errors import LocalError
from tools.local.home import Home


@pytest.fixture
def stack_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setattr(home, "LOCAL", tmp_path / "a folder: with 'signs'")
    made = Home("unit")
    made.prepare()
    return made


@pytest.fixture
def template(tmp_path: Path) -> Path:
    package = tmp_path / "built/CommonLayer/python/replicate_proxy"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("WHICH = 'built'\n", "utf-8")
    path = tmp_path / "built/template.yaml"
    path.write_text("Resources:\n  CommonLayer:\n    Properties:\n      ContentUri: CommonLayer\n", "utf-8")
    return path


def _deployed(template: Path) -> Path:
    resources = yaml.safe_load(template.read_text("utf-8"))["Resources"]
    return Path(resources["CommonLayer"]["Properties"]["ContentUri"])


def _imported(folder: Path) -> str:
    site = next(folder.glob("python/lib/python3.*/site-packages"))
    program = (
        f"import site; site.addsitedir({str(site)!r}); import replicate_proxy; print(replicate_proxy.WHICH)"
    )
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_one_deployed_file_leads_to_what_was_built(stack_home: Home, template: Path) -> None:
    folder = _deployed(layer.unpack(stack_home, template, "first"))

    assert len([path for path in folder.rglob("*") if path.is_file()]) == 1
    assert _imported(folder) == "built"


def test_the_built_template_stays_as_it_was(stack_home: Home, template: Path) -> None:
    before = template.read_text("utf-8")

    pointing = layer.unpack(stack_home, template, "first")

    assert template.read_text("utf-8") == before
    assert pointing.parent == template.parent


def test_a_deployment_leaves_the_one_before_it_alone(stack_home: Home, template: Path) -> None:
    first = _deployed(layer.unpack(stack_home, template, "first"))
    (template.parent / "CommonLayer/python/replicate_proxy/__init__.py").write_text(
        "WHICH = 'newer'\n", "utf-8"
    )
    second = _deployed(layer.unpack(stack_home, template, "second"))

    assert (_imported(first), _imported(second)) == ("built", "newer")


def test_older_layers_are_dropped(stack_home: Home, template: Path) -> None:
    for deployment in ("first", "second", "third"):
        layer.unpack(stack_home, template, deployment)

    layer.forget_others(stack_home, "second", "third")

    assert {folder.name for folder in stack_home.layers.iterdir()} == {"second", "third"}


def test_a_template_that_says_it_otherwise_is_refused(stack_home: Home, template: Path) -> None:
    template.write_text("Resources: {}\n", "utf-8")

    with pytest.raises(LocalError, match="ContentUri"):
        layer.unpack(stack_home, template, "first")
