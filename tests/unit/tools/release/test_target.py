"""Environments of samconfig.toml."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.release.errors import ReleaseError
from tools.release.target import Target, read_target

OURS = Path(__file__).parents[4] / "samconfig.toml"


@pytest.mark.parametrize(
    ("config_env", "stack_name"), [("default", "replicate-proxy"), ("dev", "replicate-proxy-dev")]
)
def test_ours_have_their_stacks(config_env: str, stack_name: str) -> None:
    assert read_target(OURS, config_env) == Target(config_env, stack_name, None)


def test_what_is_said_for_deployments_goes_before_what_is_said_for_all_commands(tmp_path: Path) -> None:
    config = tmp_path / "samconfig.toml"
    config.write_text(
        '[eu.global.parameters]\nstack_name = "all"\nregion = "eu-west-1"\n'
        '[eu.deploy.parameters]\nstack_name = "proxy"\n',
        encoding="utf-8",
    )

    assert read_target(config, "eu") == Target("eu", "proxy", "eu-west-1")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("version = 0.1\n[dev.deploy.parameters]\n", "no environment prod; it has dev"),
        ("[prod.deploy.parameters]\nregion = 'x'\n", "no stack_name"),
        ("[prod", "cannot be read"),
        (None, "cannot be read"),
    ],
)
def test_a_target_that_is_none_is_refused(tmp_path: Path, text: str | None, said: str) -> None:
    config = tmp_path / "samconfig.toml"
    if text is not None:
        config.write_text(text, encoding="utf-8")

    with pytest.raises(ReleaseError, match=said):
        read_target(config, "prod")
