"""`make invoke` with the main sample of every function, where a Docker engine runs."""

import shutil
import subprocess
from collections.abc import Mapping

import pytest

from tests.integration.conftest import FOLDER
from tools.local import build
from tools.local.errors import LocalError
from tools.local.invoke.command import invoke_function
from tools.local.invoke.samples import MAIN_SAMPLES
from tools.local.screen import Screen
from tools.local.stack import Stack

# What the command prints once the function has done its main work.
EFFECTS: Mapping[str, str] = {
    "admin": '"statusCode": 201',
    "authorize": '"Effect": "Allow"',
    "batch": ": expanding → running, 2 predictions created",
    "catalog": '"latest_version"',
    "console": "Sign in",
    "deliver": "webhook received",
    "dispatch": ": queued →",
    "endpoints": '"statusCode": 201',
    "files": '"statusCode": 201',
    "harvest": ": processing → succeeded",
    "ingest": "webhook received",
    "notify": "webhook received",
    "query": '"status": "succeeded"',
    "sweep": ": queued →",
    "track": ": submitted → processing",
    "usage": '"batchItemFailures": []',
    "webhook": ": submitted →",
}
LOGGED_EFFECTS: Mapping[str, str] = {
    "harvest": '"outcome":"compressed"',
    "usage": '"message":"usage counted"',
}


@pytest.fixture(scope="module")
def docker() -> str:
    """Return the path of docker. Where no engine runs, skip the tests; `make test` reports it at its end."""
    command = shutil.which("docker")
    if command is None or subprocess.run([command, "info"], capture_output=True, check=False).returncode:
        pytest.skip("no Docker engine is running: make invoke was not tested")
    return command


@pytest.fixture
def use_pulled_image(docker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pull Lambda's image only if it is missing, so that the tests need no registry otherwise."""
    image = f"public.ecr.aws/lambda/python:3.13-{build.get_host_architecture()}"
    inspection = subprocess.run([docker, "image", "inspect", image], capture_output=True, check=False)
    if inspection.returncode == 0:
        monkeypatch.setenv("INVOKE_SKIP_PULL", "1")


def test_every_function_has_an_expected_effect() -> None:
    assert EFFECTS.keys() == MAIN_SAMPLES.keys()


@pytest.mark.usefixtures("use_pulled_image")
@pytest.mark.parametrize("function", EFFECTS)
def test_function_does_its_main_work(stack: Stack, capfd: pytest.CaptureFixture[str], function: str) -> None:
    assert invoke_function(FOLDER, Screen(), function, None) == 0

    output, log = capfd.readouterr()
    assert EFFECTS[function] in output
    if function in LOGGED_EFFECTS:
        assert LOGGED_EFFECTS[function] in log


@pytest.mark.usefixtures("use_pulled_image")
@pytest.mark.parametrize(
    ("event", "failure"),
    [
        ("events/authorize/no_credential.json", "Unauthorized"),
        ("events/track/poison.json", "failed to handle 2 of its messages"),
    ],
)
def test_failure_of_the_function_is_an_error(stack: Stack, event: str, failure: str) -> None:
    with pytest.raises(LocalError, match=failure):
        invoke_function(FOLDER, Screen(), event.split("/")[1], event)
