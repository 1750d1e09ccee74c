"""Loopback servers, a client with short timeouts, and a control table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from moto import mock_aws

from replicate_proxy.replicate_api.client import ReplicateClient, Timeouts
from replicate_proxy.replicate_api.connection import open_session
from tests.support.aws import create_control_table
from tests.support.scripted_server import Script, ScriptedServer

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

    from types_boto3_dynamodb import DynamoDBClient


@pytest.fixture
def start_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ScriptedServer]]:
    """`start_server(script, …, tls_context=None)` starts a server, which stops after the test."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    servers: list[ScriptedServer] = []

    def start(*scripts: Script, tls_context: ssl.SSLContext | None = None) -> ScriptedServer:
        servers.append(ScriptedServer(list(scripts), tls_context))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def build_client() -> Iterator[Callable[[str], ReplicateClient]]:
    """`build_client(url)` returns a client with short timeouts."""
    session = open_session()

    def build(url: str) -> ReplicateClient:
        return ReplicateClient(
            session,
            url,
            lambda _: "r8_test",
            Timeouts(connect_seconds=0.5, read_seconds=0.5, total_seconds=1.5),
            "replicate-proxy/test",
        )

    yield build
    session.close()


@pytest.fixture
def dynamodb() -> Iterator[DynamoDBClient]:
    """A DynamoDB client with a control table."""
    with mock_aws():
        yield create_control_table()


@pytest.fixture
def dynamodb_operations(dynamodb: DynamoDBClient) -> list[str]:
    """The names of the operations sent to DynamoDB so far, in order."""
    operations: list[str] = []
    dynamodb.meta.events.register("before-call.dynamodb", lambda model, **_: operations.append(model.name))
    return operations
