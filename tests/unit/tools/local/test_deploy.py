import tomllib
from pathlib import Path

import pytest

from tools.local import deploy, home
from tools.local.home import Home


@pytest.fixture
def stack_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setattr(home, "LOCAL", tmp_path)
    made = Home("unit")
    made.prepare()
    return made


def test_what_is_deployed_is_not_deployed_again(stack_home: Home) -> None:
    now = deploy.fingerprint({"Stage": "local"}, "1@2")
    deploy.remember(stack_home, now)

    assert deploy.deployed(stack_home) == deploy.fingerprint({"Stage": "local"}, "1@2")


@pytest.mark.parametrize(("stage", "generation"), [("other", "1@2"), ("local", "9@9")])
def test_a_changed_parameter_or_a_new_emulator_deploys_again(
    stack_home: Home, stage: str, generation: str
) -> None:
    deploy.remember(stack_home, deploy.fingerprint({"Stage": "local"}, "1@2"))

    assert deploy.deployed(stack_home) != deploy.fingerprint({"Stage": stage}, generation)


def test_values_with_quotes_and_commas_survive_the_configuration_file(stack_home: Home) -> None:
    path = deploy._config(stack_home, {"LocalSettings": '{"a":"b, c"}', "Empty": ""})

    read = tomllib.loads(path.read_text(encoding="utf-8"))["default"]["deploy"]["parameters"]
    assert read["parameter_overrides"] == ['LocalSettings="{\\"a\\":\\"b, c\\"}"', 'Empty=""']
