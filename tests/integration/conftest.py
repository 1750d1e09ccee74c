"""A local stack for the whole session, apart from the developer's, and fixtures that use it.

Each worker of pytest-xdist has its own stack, since tests inject faults, move clocks and purge queues.
KEEP_STACK=1 leaves the stacks running, so that the next run starts at once.
"""

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser
from replicate.client import Client

from tests.integration.api_client import ApiClient
from tests.integration.browser import AXE, find_browser, run_browser
from tools.local.keys import KeyIssuer
from tools.local.lifecycle import temporary_stack
from tools.local.paths import StackFolder
from tools.local.screen import Screen
from tools.local.stack import Stack
from tools.local.stored_jobs import store_finished_jobs
from tools.simulator.client import SimulatorClient

FOLDER = StackFolder("-".join(filter(None, ("test", os.environ.get("PYTEST_XDIST_WORKER")))))
# Short enough for tests that lose webhooks and responses or watch progress, long enough for a busy machine.
PARAMETERS = {
    "UnknownOutcomeTimeoutSeconds": "4",
    "ResubmitAfterSeconds": "10",
    "WebhookTimeoutSeconds": "10",
    "ProgressIntervalSeconds": "1",
}
STORED_PREDICTIONS = 203
"""More than two pages of a list."""
_LONGEST_MODULES = (
    "test_upstream_faults.py",
    "test_console_faults.py",
    "test_console.py",
    "test_openapi.py",
    "test_tenant_accounts.py",
    "test_page_examples.py",
    "test_streams.py",
    "test_npm_clients.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the modules that take longest begin first, so that all workers end at about the same time."""
    ranks = {name: rank for rank, name in enumerate(_LONGEST_MODULES)}
    items.sort(key=lambda item: ranks.get(item.path.name, len(ranks)))


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The running stack."""
    keep_running = bool(os.environ.get("KEEP_STACK"))
    with temporary_stack(FOLDER, Screen(), PARAMETERS, keep_running=keep_running) as running:
        yield running


@pytest.fixture
def simulator(stack: Stack) -> Iterator[SimulatorClient]:
    """A client of the local Replicate; faults and settings are reset after the test."""
    client = SimulatorClient(url=stack.simulator_url)
    settings = client.call_control_api("GET", "settings")
    yield client
    client.call_control_api("DELETE", "faults")
    client.change_settings(**settings)


@pytest.fixture
def operator(stack: Stack) -> ApiClient:
    """A client with the admin key."""
    return ApiClient(stack.api_url, stack.admin_key)


@pytest.fixture
def make_key(stack: Stack) -> Callable[..., str]:
    """make_key("tenant") or make_key("operator", admin=True) returns a new API key."""
    issuer = KeyIssuer(stack.endpoint_url, stack.outputs)

    def make(tenant: str, *, admin: bool = False) -> str:
        return issuer.create_key(tenant, name="integration test", admin=admin)

    return make


@pytest.fixture
def make_client(stack: Stack) -> Iterator[Callable[[str], Client]]:
    """make_client(key) returns Replicate's unmodified Python client for the stack."""
    clients: list[Client] = []

    def make(key: str) -> Client:
        clients.append(Client(api_token=key, base_url=stack.api_url))
        return clients[-1]

    yield make
    for client in clients:
        client._client.close()  # The client has no close() of its own.


@pytest.fixture
def client(stack: Stack, make_client: Callable[[str], Client]) -> Client:
    """Replicate's unmodified Python client with the stack's API key."""
    return make_client(stack.api_key)


@pytest.fixture
def make_api(stack: Stack, make_key: Callable[..., str]) -> Callable[[], ApiClient]:
    """make_api() returns a client of a new tenant."""

    def make() -> ApiClient:
        tenant = f"tenant-{secrets.token_hex(4)}"
        return ApiClient(stack.api_url, make_key(tenant), tenant)

    return make


@pytest.fixture
def api(make_api: Callable[[], ApiClient]) -> ApiClient:
    """A client of a new tenant, which has no jobs of other tests."""
    return make_api()


@pytest.fixture(scope="session")
def stored_predictions(stack: Stack) -> tuple[ApiClient, list[str]]:
    """A client of a tenant with many predictions, and their IDs, newest first.

    The predictions are written to the table, since running them would take minutes.
    """
    tenant = f"tenant-{secrets.token_hex(4)}"
    key = KeyIssuer(stack.endpoint_url, stack.outputs).create_key(tenant, name="integration test")
    return ApiClient(stack.api_url, key, tenant), store_finished_jobs(stack, tenant, STORED_PREDICTIONS)


@pytest.fixture(scope="session")
def node() -> str:
    """The path of node; the test is skipped if it is not installed, which `make test` reports at its end."""
    path = shutil.which("node")
    if path is None:
        pytest.skip("node is not installed: the npm clients were not tested")
    if not (Path(__file__).parent / "clients_js/node_modules").exists():
        pytest.fail("the npm clients are not installed: run `make clients-js` first")
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium; without it, tests are skipped, which `make test` reports at its end."""
    path = find_browser()
    if path is None:
        pytest.skip("no Chromium is installed: the console was not tested in a browser")
    if not AXE.exists():
        pytest.skip(
            "axe-core is not installed: run `make clients-js`; the console was not tested in a browser"
        )
    with run_browser(path) as running:
        yield running
