"""The templates that scanners read (`make security`)."""

import json
from pathlib import Path

import pytest

from tests.template.combinations import COMBINATIONS
from tests.template.dump import main
from tests.template.variants import load_variant


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scanned")
    main(folder)
    return folder


@pytest.mark.parametrize("variant", ["default", "everything"])
def test_dump_contains_all_resources_but_boundary_and_nested_stacks(folder: Path, variant: str) -> None:
    template = json.loads((folder / f"{variant}.json").read_text())
    expected = {
        resource.id
        for resource in load_variant(variant).resources.values()
        if resource.type != "AWS::CloudFormation::Stack"
    }

    assert template["Resources"].keys() == expected - {"FunctionBoundary"}


def test_dump_contains_each_combination(folder: Path) -> None:
    assert len(list((folder / "combinations").iterdir())) == len(COMBINATIONS)
