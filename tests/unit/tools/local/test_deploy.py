import tomllib
from pathlib import Path

import pytest

from tools.local import deploy, paths
from tools.local.paths import StackFolder


@pytest.fixture
def stack_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StackFolder:
    monkeypatch.setattr(paths, "LOCAL_FOLDER", tmp_path)
    created = StackFolder("unit")
    created.create()
    return created


def test_recorded_fingerprint_equals_that_of_an_unchanged_deployment(stack_home: StackFolder) -> None:
    deploy.record_fingerprint(stack_home, deploy.fingerprint_deployment({"Stage": "local"}, "1@2"))

    assert deploy.read_fingerprint(stack_home) == deploy.fingerprint_deployment({"Stage": "local"}, "1@2")


@pytest.mark.parametrize(("stage", "generation"), [("other", "1@2"), ("local", "9@9")])
def test_fingerprint_differs_with_another_parameter_or_emulator(
    stack_home: StackFolder, stage: str, generation: str
) -> None:
    deploy.record_fingerprint(stack_home, deploy.fingerprint_deployment({"Stage": "local"}, "1@2"))

    assert deploy.read_fingerprint(stack_home) != deploy.fingerprint_deployment({"Stage": stage}, generation)


def test_fingerprint_is_empty_before_the_first_deployment(stack_home: StackFolder) -> None:
    assert deploy.read_fingerprint(stack_home) == ""


def test_config_file_keeps_quotes_and_commas_of_values(stack_home: StackFolder) -> None:
    path = deploy._write_config(stack_home, {"Schedule": '{"a":"b, c"}', "Empty": ""})

    parameters = tomllib.loads(path.read_text(encoding="utf-8"))["default"]["deploy"]["parameters"]
    assert parameters["parameter_overrides"] == ['Schedule="{\\"a\\":\\"b, c\\"}"', 'Empty=""']
