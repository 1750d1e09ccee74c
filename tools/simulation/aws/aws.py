"""The in-memory AWS: all services, and the gate that every call passes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tools.simulation.aws.calls import Client, NoAnomalies
from tools.simulation.aws.dynamodb.service import InMemoryDynamoDb
from tools.simulation.aws.dynamodb.streams_service import InMemoryDynamoDbStreams
from tools.simulation.aws.s3 import InMemoryS3
from tools.simulation.aws.sqs import InMemorySqs

if TYPE_CHECKING:
    from collections.abc import Callable

    from tools.simulation.aws.calls import Call, Choices, Gate, Perform, Service


def _perform_at_once(_: Call, perform: Perform) -> Any:
    return perform()


class InMemoryAws:
    """An account with the services that the pipeline uses.

    `now` is the virtual time in seconds since the epoch. `gate` is called for each call of a client and may
    be replaced; it decides when and whether the call is performed.
    """

    def __init__(self, now: Callable[[], float], *, choices: Choices | None = None) -> None:
        self.gate: Gate = _perform_at_once
        self.choices: Choices = choices or NoAnomalies()
        self.dynamodb = InMemoryDynamoDb(now, lambda: self.choices)
        self.dynamodb_streams = InMemoryDynamoDbStreams(now, lambda: self.dynamodb.tables)
        self.sqs = InMemorySqs(now, lambda: self.choices)
        self.s3 = InMemoryS3(now)
        services: list[Service] = [self.dynamodb, self.dynamodb_streams, self.sqs, self.s3]
        self._services = {service.name: service for service in services}
        self._clients: dict[str, Client] = {}

    def client(self, service: str) -> Any:
        """Return the client of a service, with the methods of boto3's low-level client."""
        if service not in self._clients:
            self._clients[service] = Client(self._services[service], lambda: self.gate)
        return self._clients[service]
