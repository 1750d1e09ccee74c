"""The unmodified npm clients: every `clients_js/*.test.js`, with node's test runner."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.integration.api_client import ApiClient
from tools.local.stack import Stack

FOLDER = Path(__file__).parent / "clients_js"
SCRIPTS = sorted(path.name for path in FOLDER.glob("*.test.js"))


@pytest.mark.node
@pytest.mark.parametrize("script", SCRIPTS)
def test_npm_client(
    node: str,
    stack: Stack,
    api: ApiClient,
    stored_predictions: tuple[ApiClient, list[str]],
    script: str,
) -> None:
    stored_api, stored_ids = stored_predictions
    environment = os.environ | {
        "PROXY_URL": stack.api_url,
        "PROXY_KEY": api.key,
        "STORED_PREDICTIONS_KEY": stored_api.key,
        "STORED_PREDICTIONS_COUNT": str(len(stored_ids)),
        "OUTPUTS_URL": stack.cdn_url,
        "SIMULATOR_URL": stack.simulator_url,
    }
    result = subprocess.run(
        [node, "--test", script],
        cwd=FOLDER,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert result.returncode == 0, result.stdout + result.stderr
