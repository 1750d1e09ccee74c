from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tools.release.errors import ReleaseError
from tools.release.target import Target, read_target

PROJECT_CONFIG = Path(__file__).parents[4] / "samconfig.toml"


@pytest.mark.parametrize(
    ("config_env", "stack_name"), [("default", "replicate-proxy"), ("dev", "replicate-proxy-dev")]
)
def test_environments_of_the_project_have_their_stacks(config_env: str, stack_name: str) -> None:
    assert read_target(PROJECT_CONFIG, config_env) == Target(config_env, stack_name, None)


def test_environments_of_the_project_share_no_packages() -> None:
    """`sam delete` removes the packages of a stack, and CloudFormation needs them to roll an update back."""
    config = tomllib.loads(PROJECT_CONFIG.read_text(encoding="utf-8"))
    environments = {name: value for name, value in config.items() if isinstance(value, dict)}

    assert {
        name: environment["deploy"]["parameters"]["s3_prefix"] for name, environment in environments.items()
    } == {name: read_target(PROJECT_CONFIG, name).stack_name for name in environments}


def test_settings_of_deploy_override_global_settings(tmp_path: Path) -> None:
    config = tmp_path / "samconfig.toml"
    config.write_text(
        '[eu.global.parameters]\nstack_name = "all"\nregion = "eu-west-1"\n'
        '[eu.deploy.parameters]\nstack_name = "proxy"\n',
        encoding="utf-8",
    )

    assert read_target(config, "eu") == Target("eu", "proxy", "eu-west-1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("version = 0.1\n[dev.deploy.parameters]\n", "no environment prod; its environments are dev"),
        ("[prod.deploy.parameters]\nregion = 'x'\n", "no stack_name"),
        (f"[prod.deploy.parameters]\nstack_name = '{'x' * 49}'\n", "48 characters at most"),
        ("[prod", "cannot read"),
        (None, "cannot read"),
    ],
)
def test_target_is_refused_when_config_is_missing_invalid_or_incomplete(
    tmp_path: Path, text: str | None, message: str
) -> None:
    config = tmp_path / "samconfig.toml"
    if text is not None:
        config.write_text(text, encoding="utf-8")

    with pytest.raises(ReleaseError, match=message):
        read_target(config, "prod")
