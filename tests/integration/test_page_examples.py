"""The examples of the pages, run as pasted: those of one page in one shell, one after the other."""

import itertools
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.api_client import ApiClient
from tests.integration.conftest import FOLDER
from tests.support.page_examples import Example, list_examples
from tests.support.proxyctl_install import install_proxyctl
from tools.local.paths import ROOT
from tools.local.servers import choose_port
from tools.local.stack import Stack

# Functions go by what they have read of the breaker for two seconds.
BREAKER_CACHE_SECONDS = 3
CLIENTS_FOLDER = Path(__file__).parent / "clients_js"
SHELL_PAGES = {
    page: list(examples)
    for page, examples in itertools.groupby(
        (example for example in list_examples("sh") if example.is_run), lambda example: example.page
    )
}
# curl succeeds whatever the status; a pasted example that gets an error must fail.
PREAMBLE = """
set -eo pipefail
curl() { [[ " $* " == *" -sf "* ]] || set -- --fail-with-body "$@"; command curl "$@"; }
"""


@pytest.fixture
def key_id(stack: Stack, make_key: Callable[..., str]) -> str:
    """The ID of a key that the examples may revoke, and whose prediction runs until they cancel it."""
    key = make_key("acme")
    ApiClient(stack.api_url, key, "acme").create("local/lab", {"output": "unwanted", "latency": 600})
    return key.split("_")[1]


@pytest.fixture
def job_id(api: ApiClient) -> str:
    """The ID of a prediction that has ended."""
    return str(api.run("local/lab", {"output": "done"})["id"])


@pytest.fixture(scope="session")
def proxyctl_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the installed script `proxyctl`."""
    return install_proxyctl(tmp_path_factory.mktemp("proxyctl") / "environment").parent


@pytest.fixture
def environment(
    stack: Stack, make_key: Callable[..., str], proxyctl_folder: Path
) -> Iterator[dict[str, str]]:
    """What the pages assume: API, KEY, ADMIN_KEY and proxyctl.

    Resets what examples leave behind: the circuit breaker, and the limit of a tenant that samples have, too.
    """
    yield os.environ | {
        "PATH": f"{os.environ['PATH']}{os.pathsep}{proxyctl_folder}",
        "REPLICATE_PROXY_URL": stack.api_url,
        "REPLICATE_PROXY_ADMIN_KEY": stack.admin_key,
        "API": stack.api_url,
        "KEY": make_key("examples"),
        "ADMIN_KEY": make_key("operator", admin=True),
        "LOCAL_STACK": FOLDER.name,
    }
    operator = ApiClient(stack.api_url, stack.admin_key)
    if operator.call("GET", "/admin/breaker").json()["state"] != "closed":
        assert operator.call("POST", "/admin/breaker/reset", {}).status_code == 200
        time.sleep(BREAKER_CACHE_SECONDS)
    assert operator.call("DELETE", "/admin/tenants/acme/concurrency").status_code in {204, 404}


def fill_in(code: str, key_id: str, job_id: str) -> str:
    """Put values in place of what a page leaves to the reader."""
    for placeholder, value in (
        ("API=https://…/prod ADMIN_KEY=rp_…\n", "\n"),
        ("export REPLICATE_PROXY_URL=https://…/prod REPLICATE_PROXY_ADMIN_KEY=rp_…\n", "\n"),
        ("<id>", key_id),
        ("<job>", job_id),
        ("8000", str(choose_port())),
    ):
        code = code.replace(placeholder, value)
    assert not re.search(r"…(?!\")|<[a-z]+>", re.sub(r"#.*", "", code)), "a placeholder without a value"
    return code


@pytest.mark.parametrize("page", SHELL_PAGES)
def test_shell_examples_of_a_page_run(
    page: str, environment: dict[str, str], key_id: str, job_id: str
) -> None:
    script = PREAMBLE
    for example in SHELL_PAGES[page]:
        script += f"echo '==> {example}'\n{fill_in(example.code, key_id, job_id)}\n"

    result = subprocess.run(
        ["/bin/bash", "-c", script],
        cwd=ROOT,
        env=environment,
        # A command that asks before it acts.
        input="y\n",
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )

    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]


@pytest.mark.parametrize("example", [one for one in list_examples("python") if one.is_run], ids=str)
def test_python_example_runs(example: Example, environment: dict[str, str]) -> None:
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", example.code],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert result.returncode == 0, result.stderr
    assert result.stdout.strip(), "the example prints nothing"


@pytest.mark.node
@pytest.mark.parametrize("example", [one for one in list_examples("js") if one.is_run], ids=str)
def test_javascript_example_runs(node: str, example: Example, environment: dict[str, str]) -> None:
    # In the folder of the clients, where the packages that the example imports are installed.
    result = subprocess.run(
        [node, "--input-type=module", "--eval", example.code],
        cwd=CLIENTS_FOLDER,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert result.returncode == 0, result.stderr
    assert result.stdout.strip(), "the example prints nothing"
