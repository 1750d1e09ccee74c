"""The unmodified npm clients against the stack: every `clients_js/*.test.js`, under node's test runner."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.integration.api import ApiClient
from tools.local.stack import Stack

HERE = Path(__file__).parent / "clients_js"
SCRIPTS = sorted(path.name for path in HERE.glob("*.test.js"))


@pytest.mark.node
@pytest.mark.parametrize("script", SCRIPTS)
def test_npm_client(
    node: str, stack: Stack, api: ApiClient, crowd: tuple[ApiClient, list[str]], script: str
) -> None:
    surroundings = os.environ | {
        "PROXY_URL": stack.api_url,
        "PROXY_KEY": api.key,
        "CROWD_KEY": crowd[0].key,
        "CROWD_SIZE": str(len(crowd[1])),
        "OUTPUTS_URL": stack.cdn_url,
        "SIMULATOR_URL": stack.simulator_url,
    }
    run = subprocess.run(
        [node, "--test", script],
        cwd=HERE,
        env=surroundings,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert run.returncode == 0, run.stdout + run.stderr
