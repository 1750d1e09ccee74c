"""The Python clients that need environments of their own: the tests in `python/`, each in its environment."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.integration.api_client import ApiClient
from tests.integration.models import get_version
from tools.local.paths import ROOT

FOLDER = Path(__file__).parent / "python"
# Neither the settings nor the conftest.py of the project, which need its own environment.
OPTIONS = ["-q", "-c", os.devnull, "--noconftest", "--rootdir", ".", "-p", "no:cacheprovider", "-W", "ignore"]
ENVIRONMENTS = {
    "langchain_client": "clients",
    "litellm_client": "clients",
    "replicate_beta_client": "replicate-beta",
}


@pytest.mark.parametrize(("module", "environment"), ENVIRONMENTS.items())
def test_python_client(api: ApiClient, module: str, environment: str) -> None:
    result = subprocess.run(
        [ROOT / ".venvs" / environment / "bin/pytest", *OPTIONS, f"{module}.py"],
        cwd=FOLDER,
        env=os.environ
        | {
            "REPLICATE_BASE_URL": api.url,
            "REPLICATE_API_TOKEN": api.key,
            "HELLO_VERSION": get_version("replicate/hello-world"),
            # LiteLLM would load a list of prices and a tokenizer from the internet.
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "HF_HUB_OFFLINE": "1",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_module_is_run() -> None:
    assert {path.stem for path in FOLDER.glob("*_client.py")} == set(ENVIRONMENTS)
