"""The operation Invoke of Lambda: calls registered functions, and records asynchronous invocations."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.response import StreamingBody

from tools.simulation.aws.calls import Service, operation
from tools.simulation.aws.errors import RejectedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tools.simulation.aws.calls import Parameters, Response


@dataclass(frozen=True, slots=True)
class AsynchronousInvocation:
    """An accepted invocation, which the scheduler of the simulation carries out."""

    function: str
    event: Any


class InMemoryLambda(Service):
    """Functions by name or ARN, as they are registered.

    An asynchronous invocation that is accepted is passed to `on_asynchronous`, which records it by default.
    """

    name = "lambda"

    def __init__(self) -> None:
        self.asynchronous_invocations: list[AsynchronousInvocation] = []
        self.on_asynchronous: Callable[[AsynchronousInvocation], None] = self.asynchronous_invocations.append
        self._functions: dict[str, Callable[[Any], Any]] = {}

    def register(self, function: str, handler: Callable[[Any], Any]) -> None:
        """Register the handler of a function, which takes the event and returns the response."""
        self._functions[function] = handler

    @operation("FunctionName", optional=("InvocationType", "Payload"), is_write=True)
    def invoke(self, parameters: Parameters) -> Response:
        name = parameters["FunctionName"]
        if name not in self._functions:
            raise RejectedError("ResourceNotFoundException", f"Function not found: {name}", status=404)
        event = json.loads(parameters.get("Payload", b"{}"))
        kind = parameters.get("InvocationType", "RequestResponse")
        if kind == "Event":
            self.on_asynchronous(AsynchronousInvocation(name, event))
            return {"StatusCode": 202, "Payload": _stream(b"")}
        if kind != "RequestResponse":
            raise NotImplementedError(f"the in-memory Lambda does not handle InvocationType={kind}")
        try:
            result = self._functions[name](event)
        except Exception as error:  # noqa: BLE001 - Lambda reports every error of a function to the caller
            content = {"errorMessage": str(error), "errorType": type(error).__name__}
            return {
                "StatusCode": 200,
                "FunctionError": "Unhandled",
                "Payload": _stream(json.dumps(content).encode()),
            }
        return {"StatusCode": 200, "Payload": _stream(json.dumps(result).encode())}


def _stream(content: bytes) -> StreamingBody:
    return StreamingBody(io.BytesIO(content), len(content))
