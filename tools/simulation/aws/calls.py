"""Calls of AWS: what passes the gate, and the clients that make them.

A service declares its operations as methods with `@operation`, which names every parameter that the method
handles. A call with any other parameter raises NotImplementedError, so that no parameter is ignored.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from botocore.exceptions import ParamValidationError

from tools.simulation.aws.errors import RejectedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

type Parameters = Mapping[str, Any]
type Response = dict[str, Any]
type Perform = Callable[[], Any]
type Gate = Callable[[Call, Perform], Any]
"""Takes a call and `perform`, which applies the call once and returns its response or raises ClientError."""


@dataclass(slots=True)
class Call:
    """A call of an operation, named as the method of the boto3 client."""

    service: str
    operation: str
    parameters: Parameters
    is_write: bool

    @property
    def resource(self) -> str:
        """The table, queue, bucket/key, bus, parameter, topic, function or stream that the call names."""
        return _RESOURCES[self.service](self.parameters)


class Choices(Protocol):
    """What happens where AWS gives no guarantee. Times are in seconds."""

    def index_lag(self, table: str, index: str) -> float:
        """Return the time after which a write shows in the index."""

    def stale_read(self, table: str) -> bool:
        """Return whether an eventually consistent read misses the last write, made less than a second ago.

        It is asked only if such a write exists: once for each item of GetItem and BatchGetItem, and once for
        a query.
        """

    def unprocessed_keys(self, table: str, count: int) -> int:
        """Return how many of the `count` keys of a BatchGetItem stay unprocessed."""

    def queue_delivery(self, queue: str) -> int:
        """Return the number of copies of a sent message, at least 1."""

    def bus_delivery(self, queue: str) -> int:
        """Return the number of copies of an event at a target."""

    def bus_delay(self, queue: str) -> float:
        """Return the time after which an event is delivered to a target."""


class NoAnomalies:
    """Choices without lag, loss or duplicates."""

    def index_lag(self, table: str, index: str) -> float:
        del table, index
        return 0.0

    def stale_read(self, table: str) -> bool:
        del table
        return False

    def unprocessed_keys(self, table: str, count: int) -> int:
        del table, count
        return 0

    def queue_delivery(self, queue: str) -> int:
        del queue
        return 1

    def bus_delivery(self, queue: str) -> int:
        del queue
        return 1

    def bus_delay(self, queue: str) -> float:
        del queue
        return 0.0


@dataclass(frozen=True)
class Operation:
    """How a method of a service becomes a method of its client.

    `prepare` changes the parameters before the call, once for all times that the call is performed.
    """

    name: str
    required: frozenset[str]
    accepted: frozenset[str]
    is_write: bool
    prepare: Callable[[Any, dict[str, Any]], dict[str, Any]] | None


def operation[Method: Callable[..., Any]](
    *required: str,
    optional: tuple[str, ...] = (),
    is_write: bool = False,
    prepare: Callable[[Any, dict[str, Any]], dict[str, Any]] | None = None,
) -> Callable[[Method], Method]:
    """Declare a method `(self, parameters) -> response` to be an operation with these parameters."""

    def declare(method: Method) -> Method:
        name: str = method.__name__
        declared = Operation(name, frozenset(required), frozenset((*required, *optional)), is_write, prepare)
        method.__dict__["operation"] = declared
        return method

    return declare


class Service:
    """Base of the services. `pages` maps an operation to how the parameters of its next page are derived."""

    name: str
    pages: Mapping[str, Callable[[Parameters, Response], Parameters | None]] = {}

    def operations(self) -> Iterator[tuple[Operation, Callable[[Parameters], Response]]]:
        for attribute in dir(type(self)):
            declared = getattr(getattr(type(self), attribute), "operation", None)
            if isinstance(declared, Operation):
                yield declared, getattr(self, attribute)

    def local_methods(self) -> Mapping[str, Callable[..., Any]]:
        """Return the methods of the client that make no call, such as `generate_presigned_url`."""
        return {}


class Client:
    """The boto3 client of a service, limited to the declared operations."""

    def __init__(self, service: Service, get_gate: Callable[[], Gate]) -> None:
        self._service = service
        self._methods: dict[str, Callable[..., Any]] = dict(service.local_methods())
        for declared, method in service.operations():
            self._methods[declared.name] = _build_method(service, declared, method, get_gate)
        # Instance attributes are found without `__getattr__`.
        self.__dict__.update(self._methods)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise NotImplementedError(f"the in-memory {self._service.name} has no operation {name}")

    def get_paginator(self, operation_name: str) -> Paginator:
        if operation_name not in self._service.pages:
            raise NotImplementedError(f"the in-memory {self._service.name} has no pages of {operation_name}")
        return Paginator(self._methods[operation_name], self._service.pages[operation_name])


@dataclass(frozen=True, slots=True)
class Paginator:
    """The paginator of an operation. Pages are requested one after the other, as the caller takes them."""

    request: Callable[..., Response]
    next_parameters: Callable[[Parameters, Response], Parameters | None]

    def paginate(self, **parameters: Any) -> Iterator[Response]:
        page_parameters: Parameters | None = parameters
        while page_parameters is not None:
            page = self.request(**page_parameters)
            yield page
            page_parameters = self.next_parameters(page_parameters, page)


def refuse_unknown(entry: Mapping[str, Any], *accepted: str, place: str) -> None:
    """Raise NotImplementedError if the entry of a parameter has keys other than those that are handled."""
    for name in entry:
        if name not in accepted:
            raise NotImplementedError(f"the in-memory AWS does not handle {place}.{name}")


def _build_method(
    service: Service,
    declared: Operation,
    method: Callable[[Parameters], Response],
    get_gate: Callable[[], Gate],
) -> Callable[..., Any]:
    service_name, name, is_write = service.name, declared.name, declared.is_write
    required, accepted, prepare = declared.required, declared.accepted, declared.prepare
    operation_name = "".join(word.capitalize() for word in name.split("_"))

    def perform(parameters: Parameters) -> Any:
        try:
            return method(parameters)
        except RejectedError as error:
            raise error.to_client_error(operation_name) from None

    def call(**parameters: Any) -> Any:
        if not accepted.issuperset(parameters):
            unknown = sorted(parameters.keys() - accepted)
            raise NotImplementedError(f"the in-memory {service_name} does not handle {name}({unknown})")
        if not required.issubset(parameters):
            missing = ", ".join(sorted(required - parameters.keys()))
            raise ParamValidationError(report=f"Missing required parameter in input: {missing}")
        if prepare is not None:
            parameters = prepare(service, parameters)
        return get_gate()(Call(service_name, name, parameters, is_write), partial(perform, parameters))

    return call


def _find_table(parameters: Parameters) -> str:
    if "TableName" in parameters:
        return str(parameters["TableName"])
    if "RequestItems" in parameters:
        return str(next(iter(parameters["RequestItems"])))
    return str(next(iter(parameters["TransactItems"][0].values()))["TableName"])


def _find_bus(parameters: Parameters) -> str:
    return str(parameters["Entries"][0].get("EventBusName", "default"))


def _find_object(parameters: Parameters) -> str:
    return f"{parameters['Bucket']}/{parameters.get('Key', parameters.get('Prefix', ''))}"


_RESOURCES: Mapping[str, Callable[[Parameters], str]] = {
    "apigateway": lambda parameters: str(next(iter(parameters.values()), "")),
    "dynamodb": _find_table,
    "dynamodbstreams": lambda parameters: str(parameters.get("StreamArn") or parameters.get("ShardIterator")),
    "events": _find_bus,
    "lambda": lambda parameters: str(parameters["FunctionName"]),
    "s3": _find_object,
    "sqs": lambda parameters: str(parameters["QueueUrl"]).rpartition("/")[2],
    "ssm": lambda parameters: str(parameters["Name"]),
}
