"""A deployed local stack for the whole session, apart from the user's own, and ways to drive it.

Each worker of pytest-xdist has a stack of its own: tests inject faults, move clocks and empty queues.
KEEP_STACK=1 leaves it running afterwards, so that the next run begins at once.
"""

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from replicate.client import Client

from tests.integration.api import ApiClient
from tests.integration.crowd import store_finished_jobs
from tools.local.keys import KeyIssuer
from tools.local.lifecycle import temporary_stack
from tools.local.paths import StackFolder
from tools.local.screen import Screen
from tools.local.stack import Stack
from tools.simulator.client import SimulatorClient

FOLDER = StackFolder("-".join(filter(None, ("test", os.environ.get("PYTEST_XDIST_WORKER")))))
# Patience short enough for tests that lose webhooks and answers, long enough for a busy machine.
PARAMETERS = {
    "UnknownOutcomeTimeoutSeconds": "4",
    "ResubmitAfterSeconds": "10",
    "WebhookTimeoutSeconds": "10",
}
CROWD = 203


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The running stack: `api_url`, `api_key`, `admin_key`, `outputs`, and `stack.aws("dynamodb")`."""
    with temporary_stack(
        FOLDER, Screen(), PARAMETERS, keep_running=bool(os.environ.get("KEEP_STACK"))
    ) as running:
        yield running


@pytest.fixture
def simulator(stack: Stack) -> Iterator[SimulatorClient]:
    """Steers the local Replicate; afterwards no fault is left and every setting is as it was."""
    remote = SimulatorClient(url=stack.simulator_url)
    settings = remote.call_control_api("GET", "settings")
    yield remote
    remote.call_control_api("DELETE", "faults")
    remote.change_settings(**settings)


@pytest.fixture
def make_key(stack: Stack) -> Callable[..., str]:
    """make_key("tenant") or make_key("operator", admin=True): a fresh key."""
    keyring = KeyIssuer(stack.endpoint_url, stack.outputs)

    def make(tenant: str, *, admin: bool = False) -> str:
        return keyring.create_key(tenant, name="integration test", admin=admin)

    return make


@pytest.fixture
def client_of(stack: Stack) -> Iterator[Callable[[str], Client]]:
    """client_of(key): the unmodified PyPI client, told nothing but base URL and key."""
    made: list[Client] = []

    def make(key: str) -> Client:
        made.append(Client(api_token=key, base_url=stack.api_url))
        return made[-1]

    yield make
    for each in made:
        each._client.close()  # it has no close() of its own


@pytest.fixture
def client(stack: Stack, client_of: Callable[[str], Client]) -> Client:
    """The same with the stack's first key."""
    return client_of(stack.api_key)


@pytest.fixture
def make_api(stack: Stack, make_key: Callable[..., str]) -> Callable[[], ApiClient]:
    """make_api(): plain HTTP as a tenant that nobody else has."""

    def make() -> ApiClient:
        tenant = f"tenant-{secrets.token_hex(4)}"
        return ApiClient(stack.api_url, make_key(tenant), tenant)

    return make


@pytest.fixture
def api(make_api: Callable[[], ApiClient]) -> ApiClient:
    """Plain HTTP as a tenant of the test's own, so that tests never see each other's jobs."""
    return make_api()


@pytest.fixture(scope="session")
def crowd(stack: Stack) -> tuple[ApiClient, list[str]]:
    """A tenant with more predictions than two pages hold, and their ids, newest first.

    They are written straight to the table: running each would take minutes and show nothing more.
    """
    tenant = f"tenant-{secrets.token_hex(4)}"
    key = KeyIssuer(stack.endpoint_url, stack.outputs).create_key(tenant, name="integration test")
    return ApiClient(stack.api_url, key, tenant), store_finished_jobs(stack, tenant, CROWD)


@pytest.fixture
def aws(stack: Stack) -> Callable[[str], Any]:
    """aws("s3"): a boto3 client of the emulated account."""
    return stack.get_client


@pytest.fixture(scope="session")
def node() -> str:
    """The node program; where there is none the test is skipped, and `make test` says so at its end."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("node is not installed: the npm clients were not tested")
    return found
