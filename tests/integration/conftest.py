"""A deployed local stack for the whole session, apart from the user's own, and ways to drive it.

KEEP_STACK=1 leaves it running afterwards, so that the next run begins at once.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from replicate.client import Client

from local.down import down
from local.home import Home
from local.keys import Keyring
from local.replicate.remote import Remote
from local.screen import Screen
from local.stack import Stack
from local.up import up

HOME = Home("test")


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The running stack: `api_url`, `api_key`, `admin_key`, `outputs`, and `stack.aws("dynamodb")`."""
    yield up(HOME, Screen())
    if not os.environ.get("KEEP_STACK"):
        down(HOME, Screen())


@pytest.fixture
def simulator(stack: Stack) -> Iterator[Remote]:
    """Steers the local Replicate; afterwards no fault is left and every setting is as it was."""
    remote = Remote(url=stack.simulator_url)
    settings = remote.control("GET", "settings")
    yield remote
    remote.control("DELETE", "faults")
    remote.settings(**settings)


@pytest.fixture
def make_key(stack: Stack) -> Callable[..., str]:
    """make_key("tenant") or make_key("operator", admin=True): a fresh key."""
    keyring = Keyring(stack.endpoint_url, stack.outputs)

    def make(tenant: str, *, admin: bool = False) -> str:
        return keyring.create(tenant, name="integration test", admin=admin)

    return make


@pytest.fixture
def client(stack: Stack) -> Client:
    """The unmodified PyPI client, told nothing but base URL and key."""
    return Client(api_token=stack.api_key, base_url=stack.api_url)


@pytest.fixture
def aws(stack: Stack) -> Callable[[str], Any]:
    """aws("s3"): a boto3 client of the emulated account."""
    return stack.aws


@pytest.fixture(scope="session")
def node() -> str:
    """The node program; where there is none the test is skipped, and `make test` says so at its end."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("node is not installed: the npm clients were not tested")
    return found
