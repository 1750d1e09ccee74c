import json
from pathlib import Path

import pytest

from tools.local.paths import ROOT
from tools.local.template import write_local_template


@pytest.fixture
def built_template(tmp_path: Path) -> Path:
    path = tmp_path / "template.yaml"
    path.write_text((ROOT / "template.yaml").read_text("utf-8"), "utf-8")
    return path


def test_local_template_names_the_layer_and_does_not_change_the_built_one(built_template: Path) -> None:
    before = built_template.read_text("utf-8")
    target = built_template.with_name("local.json")

    layer_folder = Path("/layers/a folder: with 'signs'")
    written = write_local_template(built_template, target, settings={}, layer=layer_folder)

    assert json.loads(target.read_text("utf-8")) == written
    layer = written["Resources"]["CommonLayer"]
    assert layer["Properties"]["ContentUri"] == "/layers/a folder: with 'signs'"
    assert built_template.read_text("utf-8") == before
