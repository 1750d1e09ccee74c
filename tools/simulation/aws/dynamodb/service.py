"""The operations of DynamoDB."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tools.simulation.aws.calls import Service, operation, refuse_unknown
from tools.simulation.aws.dynamodb.projections import compile_projection
from tools.simulation.aws.dynamodb.queries import QUERY_OPTIONS, SCAN_OPTIONS, next_page, query, scan
from tools.simulation.aws.dynamodb.requests import WRITE_OPTIONS, Placeholders, Write, choose
from tools.simulation.aws.dynamodb.schema import parse_table
from tools.simulation.aws.dynamodb.stream import Stream
from tools.simulation.aws.dynamodb.table import Table
from tools.simulation.aws.errors import RejectedError, validation_error

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tools.simulation.aws.calls import Choices, Parameters, Response
    from tools.simulation.aws.dynamodb.table import StoredItem


# Limits of BatchGetItem, BatchWriteItem and TransactWriteItems (Amazon DynamoDB API reference)
_MAX_BATCH_KEYS = 100
_MAX_BATCH_WRITES = 25
_MAX_BATCH_BYTES = 16 * 1024 * 1024
_MAX_TRANSACTION_ITEMS = 100
_MAX_TRANSACTION_BYTES = 4 * 1024 * 1024
# A token stands for the same transaction for ten minutes (API reference, TransactWriteItems).
_TOKEN_SECONDS = 600

_TRANSACTION_WRITES: Mapping[str, tuple[str, ...]] = {
    "Put": ("TableName", "Item", *WRITE_OPTIONS),
    "Update": ("TableName", "Key", "UpdateExpression", *WRITE_OPTIONS),
    "Delete": ("TableName", "Key", *WRITE_OPTIONS),
    "ConditionCheck": ("TableName", "Key", *WRITE_OPTIONS),
}
_REASON_CODES = {
    "ConditionalCheckFailedException": "ConditionalCheckFailed",
    "ValidationException": "ValidationError",
}


def _add_token(service: Any, parameters: dict[str, Any]) -> dict[str, Any]:
    """Add the token by which DynamoDB recognizes a repeated transaction, as the SDK does."""
    return (
        parameters
        if "ClientRequestToken" in parameters
        else {**parameters, "ClientRequestToken": service.new_token()}
    )


class InMemoryDynamoDb(Service):
    """Tables by name. `shard_count` is the number of open shards of each stream."""

    name = "dynamodb"
    pages = {"query": next_page, "scan": next_page}  # noqa: RUF012 - constant

    def __init__(
        self, now: Callable[[], float], choices: Callable[[], Choices], *, shard_count: int = 2
    ) -> None:
        self._now = now
        self._choices = choices
        self._shard_count = shard_count
        self._tables: dict[str, Table] = {}
        self._tokens: dict[str, tuple[float, Parameters]] = {}
        self._token_count = 0

    def create_table(self, properties: Mapping[str, Any]) -> None:
        """Create a table with properties of AWS::DynamoDB::Table, or those of the operation CreateTable."""
        schema = parse_table(properties)
        stream = None
        if schema.has_stream:
            arn = (
                f"arn:aws:dynamodb:us-east-1:111122223333:table/{schema.name}/stream/2026-01-01T00:00:00.000"
            )
            stream = Stream(schema.name, arn, self._now, self._shard_count)
        self._tables[schema.name] = Table(schema, self._now, self._choices, stream)

    @property
    def tables(self) -> Mapping[str, Table]:
        return self._tables

    def stream(self, table: str) -> Stream:
        """Return the stream of a table, for event source mappings."""
        stream = self._tables[table].stream
        if stream is None:
            raise KeyError(f"table {table} has no stream")
        return stream

    def expire(self) -> int:
        """Delete the items whose time to live has passed, and return their number."""
        return sum([table.expire() for table in self._tables.values()])

    def new_token(self) -> str:
        self._token_count += 1
        return f"{self._token_count:08x}-0000-4000-8000-000000000000"

    @operation("TableName", "Item", optional=("ReturnValues", *WRITE_OPTIONS), is_write=True)
    def put_item(self, parameters: Parameters) -> Response:
        return self._write(parameters, "ALL_OLD")

    @operation("TableName", "Key", optional=("ReturnValues", *WRITE_OPTIONS), is_write=True)
    def delete_item(self, parameters: Parameters) -> Response:
        return self._write(parameters, "ALL_OLD")

    @operation(
        "TableName", "Key", optional=("UpdateExpression", "ReturnValues", *WRITE_OPTIONS), is_write=True
    )
    def update_item(self, parameters: Parameters) -> Response:
        if "UpdateExpression" not in parameters:
            raise NotImplementedError("the in-memory DynamoDB does not handle an update without expression")
        return self._write(parameters, "ALL_OLD", "ALL_NEW")

    @operation(
        "TableName", "Key", optional=("ConsistentRead", "ProjectionExpression", "ExpressionAttributeNames")
    )
    def get_item(self, parameters: Parameters) -> Response:
        table = self._get_table(parameters["TableName"])
        placeholders = Placeholders(parameters)
        project = compile_projection(parameters, placeholders)
        placeholders.check_all_used()
        key = table.schema.key.check_key(parameters["Key"])
        stored = table.get(key, consistent=bool(parameters.get("ConsistentRead")))
        return {"Item": project(stored.item)} if stored else {}

    @operation("TableName", "KeyConditionExpression", optional=QUERY_OPTIONS)
    def query(self, parameters: Parameters) -> Response:
        limit = parameters.get("Limit", 1)
        if limit < 1:
            raise validation_error(
                f"1 validation error detected: Value '{limit}' at 'limit' failed to satisfy"
                " constraint: Member must"
                " have value greater than or equal to 1"
            )
        return query(self._get_table(parameters["TableName"]), parameters, self._now())

    @operation("TableName", optional=SCAN_OPTIONS)
    def scan(self, parameters: Parameters) -> Response:
        return scan(self._get_table(parameters["TableName"]), parameters)

    @operation("RequestItems")
    def batch_get_item(self, parameters: Parameters) -> Response:
        requests: Mapping[str, Any] = parameters["RequestItems"]
        count = sum(len(request["Keys"]) for request in requests.values())
        if not 1 <= count <= _MAX_BATCH_KEYS:
            raise validation_error("Too many items requested for the BatchGetItem call")
        size = 0
        responses: dict[str, Any] = {}
        unprocessed: dict[str, Any] = {}
        for name, request in requests.items():
            refuse_unknown(
                request,
                "Keys",
                "ConsistentRead",
                "ProjectionExpression",
                "ExpressionAttributeNames",
                place="RequestItems",
            )
            read_count, read_bytes = self._read_batch(name, request, responses, _MAX_BATCH_BYTES - size)
            size += read_bytes
            if read_count < len(request["Keys"]):
                unprocessed[name] = {**request, "Keys": list(request["Keys"][read_count:])}
        if not any(responses.values()) and sum(len(rest["Keys"]) for rest in unprocessed.values()) == count:
            # API reference, BatchGetItem: if none of the items can be processed
            raise RejectedError(
                "ProvisionedThroughputExceededException",
                "The level of configured provisioned throughput for the table was exceeded.",
            )
        return {"Responses": responses, "UnprocessedKeys": unprocessed}

    @operation("RequestItems", is_write=True)
    def batch_write_item(self, parameters: Parameters) -> Response:
        """Delete items; the last ones of a table may stay unprocessed."""
        requests: Mapping[str, Any] = parameters["RequestItems"]
        if not 1 <= sum(map(len, requests.values())) <= _MAX_BATCH_WRITES:
            raise validation_error("Too many items requested for the BatchWriteItem call")
        unprocessed: dict[str, Any] = {}
        for name, writes in requests.items():
            keys = [write["DeleteRequest"]["Key"] for write in writes]
            table = self._get_table(name)
            if len({table.schema.key.check_key(key) for key in keys}) != len(keys):
                raise validation_error("Provided list of item keys contains duplicates")
            processed_count = len(keys) - self._choices().unprocessed_keys(name, len(keys))
            for key in keys[:processed_count]:
                write = Write(table, {"TableName": name, "Key": key})
                table.write(write.key, write.build())
            if processed_count < len(keys):
                unprocessed[name] = list(writes[processed_count:])
        return {"UnprocessedItems": unprocessed}

    def _read_batch(
        self, name: str, request: Mapping[str, Any], responses: dict[str, Any], max_bytes: int
    ) -> tuple[int, int]:
        """Read the first keys of a table into `responses`; return how many were processed, and their size."""
        table = self._get_table(name)
        keys = [table.schema.key.check_key(key) for key in request["Keys"]]
        if len(frozenset(keys)) != len(keys):
            raise validation_error("Provided list of item keys contains duplicates")
        placeholders = Placeholders(request)
        project = compile_projection(request, placeholders)
        placeholders.check_all_used()
        consistent = bool(request.get("ConsistentRead"))
        processed = keys[: len(keys) - self._choices().unprocessed_keys(name, len(keys))]
        items = responses[name] = []
        size = 0
        for count, key in enumerate(processed):
            stored = table.get(key, consistent=consistent)
            if stored is None:
                continue
            size += stored.size
            if size > max_bytes:
                return count, size
            items.append(project(stored.item))
        return len(processed), size

    @operation("TransactItems", optional=("ClientRequestToken",), is_write=True, prepare=_add_token)
    def transact_write_items(self, parameters: Parameters) -> Response:
        token, now = parameters["ClientRequestToken"], self._now()
        earlier = self._tokens.get(token)
        if earlier is not None and now - earlier[0] < _TOKEN_SECONDS:
            if earlier[1]["TransactItems"] != parameters["TransactItems"]:
                raise RejectedError(
                    "IdempotentParameterMismatchException",
                    "Request is using the same client token as a previous request with different parameters",
                )
            return {}
        self._transact(parameters["TransactItems"])
        self._tokens = {
            name: entry for name, entry in self._tokens.items() if now - entry[0] < _TOKEN_SECONDS
        }
        self._tokens[token] = (now, parameters)
        return {}

    def _transact(self, requests: list[Mapping[str, Any]]) -> None:
        if not 1 <= len(requests) <= _MAX_TRANSACTION_ITEMS:
            raise validation_error(
                "1 validation error detected: Value at 'transactItems' failed to satisfy constraint:"
                " Member must have"
                f" length less than or equal to {_MAX_TRANSACTION_ITEMS}"
            )
        writes = [self._parse_transaction_write(request) for request in requests]
        targets = [(write.table.schema.name, write.key) for _, write in writes]
        if len(frozenset(targets)) != len(targets):
            raise validation_error("Transaction request cannot include multiple operations on one item")
        results = [_try_write(kind, write) for kind, write in writes]
        errors = [result if isinstance(result, RejectedError) else None for result in results]
        if any(errors):
            raise _build_cancellation(errors)
        stored = [result for result in results if not isinstance(result, RejectedError)]
        if sum(item.size for item in stored if item is not None) > _MAX_TRANSACTION_BYTES:
            raise validation_error(
                "Collection size exceeded: the items of the transaction are larger than 4 MB"
            )
        for (kind, write), item in zip(writes, stored, strict=True):
            if kind != "ConditionCheck":
                write.table.write(write.key, item)

    def _parse_transaction_write(self, request: Mapping[str, Any]) -> tuple[str, Write]:
        ((kind, parameters),) = request.items()
        if kind not in _TRANSACTION_WRITES:
            raise NotImplementedError(f"the in-memory DynamoDB does not handle TransactItems.{kind}")
        refuse_unknown(parameters, *_TRANSACTION_WRITES[kind], place=f"TransactItems.{kind}")
        return kind, Write(self._get_table(parameters["TableName"]), parameters)

    def _write(self, parameters: Parameters, *supported_returns: str) -> Response:
        returns = choose(parameters, "ReturnValues", *supported_returns, "NONE")
        write = Write(self._get_table(parameters["TableName"]), parameters)
        error = write.check_condition()
        if error is not None:
            raise error
        new = write.build()
        write.table.write(write.key, new)
        returned = {"ALL_OLD": write.old, "ALL_NEW": new}.get(returns)
        return {"Attributes": dict(returned.item)} if returned is not None else {}

    def _get_table(self, name: str) -> Table:
        table = self._tables.get(name)
        if table is None:
            raise RejectedError("ResourceNotFoundException", "Requested resource not found")
        return table


def _try_write(kind: str, write: Write) -> StoredItem | RejectedError | None:
    error = write.check_condition()
    if error is not None or kind == "ConditionCheck":
        return error
    try:
        return write.build()
    except RejectedError as rejected:
        return rejected


def _build_cancellation(errors: list[RejectedError | None]) -> RejectedError:
    reasons: list[dict[str, Any]] = [
        {"Code": "None"}
        if error is None
        else {"Code": _REASON_CODES[error.code], "Message": error.message, **error.response}
        for error in errors
    ]
    codes = ", ".join(reason["Code"] for reason in reasons)
    return RejectedError(
        "TransactionCanceledException",
        f"Transaction cancelled, please refer cancellation reasons for specific reasons [{codes}]",
        CancellationReasons=reasons,
    )
