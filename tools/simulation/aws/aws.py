"""The in-memory AWS: all services, and the gate that every call passes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from tools.simulation.aws.api_gateway import InMemoryApiGateway
from tools.simulation.aws.calls import Client, NoAnomalies
from tools.simulation.aws.dynamodb.service import InMemoryDynamoDb
from tools.simulation.aws.dynamodb.streams_service import InMemoryDynamoDbStreams
from tools.simulation.aws.events import InMemoryEventBridge
from tools.simulation.aws.functions import InMemoryLambda
from tools.simulation.aws.parameters import InMemorySsm
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
    be replaced; it decides when and whether the call is performed. Calls of a service's own methods pass no
    gate.
    """

    def __init__(self, now: Callable[[], float], *, choices: Choices | None = None) -> None:
        self.gate: Gate = _perform_at_once
        self.choices: Choices = choices or NoAnomalies()
        self.dynamodb = InMemoryDynamoDb(now, lambda: self.choices)
        self.dynamodb_streams = InMemoryDynamoDbStreams(now, lambda: self.dynamodb.tables)
        self.sqs = InMemorySqs(now, lambda: self.choices)
        self.events = InMemoryEventBridge(now, lambda: self.choices, self.sqs)
        self.s3 = InMemoryS3(now)
        self.ssm = InMemorySsm(now)
        self.functions = InMemoryLambda()
        self.api_gateway = InMemoryApiGateway()
        services: list[Service] = [
            self.dynamodb,
            self.dynamodb_streams,
            self.sqs,
            self.events,
            self.s3,
            self.ssm,
            self.functions,
            self.api_gateway,
        ]
        self._services = {service.name: service for service in services}
        self._clients: dict[str, Client] = {}

    @classmethod
    def from_template(
        cls,
        now: Callable[[], float],
        *,
        stack_name: str = "replicate-proxy",
        choices: Choices | None = None,
        **parameters: str,
    ) -> Self:
        """Return an account with the tables, queues, bus, rules and bucket of template.yaml.

        `parameters` are those of the template; `aws/template.py` says how resources are named.
        """
        # Reading the template takes seconds, which an account without a stack need not wait for.
        from tools.simulation.aws.template import create_resources  # noqa: PLC0415
        from tools.template.stack import load_stack  # noqa: PLC0415

        aws = cls(now, choices=choices)
        create_resources(aws, load_stack(stack_name, **parameters))
        return aws

    def client(self, service: str) -> Any:
        """Return the client of a service, with the methods of boto3's low-level client."""
        if service not in self._clients:
            self._clients[service] = Client(self._services[service], lambda: self.gate)
        return self._clients[service]
