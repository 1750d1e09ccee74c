"""Query and Scan: pages of a partition of a table or an index, and of a table."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tools.simulation.aws.dynamodb.conditions import compile_condition
from tools.simulation.aws.dynamodb.key_conditions import KIND, build_key_range
from tools.simulation.aws.dynamodb.projections import compile_projection
from tools.simulation.aws.dynamodb.requests import Placeholders
from tools.simulation.aws.errors import validation_error

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tools.simulation.aws.calls import Parameters, Response
    from tools.simulation.aws.dynamodb.conditions import CompiledCondition
    from tools.simulation.aws.dynamodb.key_conditions import Entry, KeyRange
    from tools.simulation.aws.dynamodb.schema import KeySchema
    from tools.simulation.aws.dynamodb.table import StoredItem, Table
    from tools.simulation.aws.dynamodb.values import Item, Key

QUERY_OPTIONS = (
    "IndexName",
    "ConsistentRead",
    "FilterExpression",
    "ProjectionExpression",
    "ExpressionAttributeNames",
    "ExpressionAttributeValues",
    "ScanIndexForward",
    "Limit",
    "ExclusiveStartKey",
    "Select",
)
SCAN_OPTIONS = (
    "ConsistentRead",
    "ProjectionExpression",
    "ExpressionAttributeNames",
    "Limit",
    "ExclusiveStartKey",
)
# A page holds at most 1 MB before the filter (developer guide, "Paginating table query results").
_MAX_PAGE_BYTES = 1024 * 1024
_BAD_START = "The provided starting key is invalid"


@dataclass(slots=True)
class _Page:
    items: list[Item]
    scanned_count: int
    last: Entry | None


def query(table: Table, parameters: Parameters, now: float) -> Response:
    placeholders = Placeholders(parameters)
    index_name = parameters.get("IndexName")
    schema, index_key = table.schema.key, None
    if index_name is not None:
        if index_name not in table.indexes:
            raise validation_error(f"The table does not have the specified index: {index_name}")
        if parameters.get("ConsistentRead"):
            raise validation_error("Consistent reads are not supported on global secondary indexes")
        schema = index_key = table.indexes[index_name].schema.key
    key_range = _build_range(parameters, placeholders, schema)
    item_filter = _build_filter(parameters, placeholders, schema)
    project = compile_projection(parameters, placeholders)
    placeholders.check_all_used()
    entries, get = _read_entries(table, index_name, key_range, parameters, now)
    entries = _select_range(table, index_key, key_range, entries, parameters)
    page = _read_page(entries, get, item_filter, placeholders, parameters.get("Limit"))
    response: dict[str, Any] = {"Count": len(page.items), "ScannedCount": page.scanned_count}
    if parameters.get("Select", "ALL_PROJECTED_ATTRIBUTES") != "COUNT":
        response["Items"] = [project(item) for item in page.items]
    if page.last is not None:
        names = dict.fromkeys((*table.schema.key.attributes, *schema.attributes))
        last_item = get(page.last[1]).item
        response["LastEvaluatedKey"] = {name: last_item[name] for name in names}
    return response


def scan(table: Table, parameters: Parameters) -> Response:
    """Return a page of all items, in the order of their keys: real tables have another one."""
    if not parameters.get("ConsistentRead"):
        raise NotImplementedError("the in-memory DynamoDB does not handle a scan that is not consistent")
    placeholders = Placeholders(parameters)
    project = compile_projection(parameters, placeholders)
    placeholders.check_all_used()
    schema = table.schema.key
    keys = sorted(table.items)
    if "ExclusiveStartKey" in parameters:
        keys = keys[bisect_right(keys, schema.check_key(parameters["ExclusiveStartKey"])) :]
    page: list[Item] = []
    size = 0
    for key in keys:
        stored = table.items[key]
        page.append(stored.item)
        size += stored.size
        if len(page) >= parameters.get("Limit", len(keys)) or size >= _MAX_PAGE_BYTES:
            break
    response: dict[str, Any] = {
        "Items": [project(item) for item in page],
        "Count": len(page),
        "ScannedCount": len(page),
    }
    # A page that ends at the limit has a last key, also if nothing follows (API reference, Scan).
    if page and (len(page) < len(keys) or len(page) == parameters.get("Limit")):
        response["LastEvaluatedKey"] = {name: page[-1][name] for name in schema.attributes}
    return response


def next_page(parameters: Parameters, page: Response) -> Parameters | None:
    """Return the parameters of the next page, None after the last one."""
    last_key = page.get("LastEvaluatedKey")
    return {**parameters, "ExclusiveStartKey": last_key} if last_key else None


def _build_range(parameters: Parameters, placeholders: Placeholders, schema: KeySchema) -> KeyRange:
    text = parameters["KeyConditionExpression"]
    condition = compile_condition(text, KIND)
    placeholders.use(condition.names, condition.values, KIND)
    return build_key_range(text, schema, placeholders.names, placeholders.values)


def _build_filter(
    parameters: Parameters, placeholders: Placeholders, schema: KeySchema
) -> CompiledCondition | None:
    if "FilterExpression" not in parameters:
        return None
    condition = compile_condition(parameters["FilterExpression"], "FilterExpression")
    placeholders.use(condition.names, condition.values, "FilterExpression")
    condition.check(placeholders.values)
    for name in sorted(condition.attributes):
        attribute = placeholders.names.get(name, name)
        if attribute in schema.attributes:
            raise validation_error(
                "Filter Expression can only contain non-primary key attributes: Primary key"
                f" attribute: {attribute}"
            )
    return condition


def _read_entries(
    table: Table, index_name: str | None, key_range: KeyRange, parameters: Parameters, now: float
) -> tuple[Sequence[Entry], Callable[[Key], StoredItem]]:
    select = parameters.get("Select")
    if select not in {None, "COUNT", "ALL_ATTRIBUTES", "ALL_PROJECTED_ATTRIBUTES"}:
        raise NotImplementedError(f"the in-memory DynamoDB does not handle Select={select}")
    if index_name is None:
        return table.snapshot(key_range, consistent=bool(parameters.get("ConsistentRead")))
    if select == "ALL_ATTRIBUTES":
        raise NotImplementedError("the in-memory DynamoDB does not handle Select=ALL_ATTRIBUTES of an index")
    index = table.indexes[index_name]
    index.apply_due(now)
    return index.entries(key_range), index.get


def _select_range(
    table: Table,
    index_key: KeySchema | None,
    key_range: KeyRange,
    entries: Sequence[Entry],
    parameters: Parameters,
) -> Sequence[Entry]:
    """Return the entries in the range, after the start key, in the order of the query."""
    start, end = key_range.locate(entries)
    forward = parameters.get("ScanIndexForward", True)
    start_key = parameters.get("ExclusiveStartKey")
    if start_key is not None:
        position = _parse_start(table, index_key, start_key)
        if forward:
            start = max(start, bisect_right(entries, position))
        else:
            end = min(end, bisect_left(entries, position))
    # A page reads at most as many entries as its limit, and one to know whether it is the last.
    limit = parameters.get("Limit")
    if limit is not None and end - start > limit:
        start, end = (start, start + limit + 1) if forward else (end - limit - 1, end)
    selected = entries[start:end] if start < end else ()
    return selected if forward else selected[::-1]


def _parse_start(table: Table, index_key: KeySchema | None, start_key: Item) -> Entry:
    table_key = table.schema.key
    expected = {*table_key.attributes, *(index_key.attributes if index_key else ())}
    if start_key.keys() != expected:
        raise validation_error(_BAD_START)
    key = table_key.key_of(start_key)
    sorted_by = index_key or table_key
    sort_key = sorted_by.key_of(start_key)[1] if sorted_by.sort else ""
    return sort_key, key


def _read_page(
    entries: Sequence[Entry],
    get: Callable[[Key], StoredItem],
    item_filter: CompiledCondition | None,
    placeholders: Placeholders,
    limit: int | None,
) -> _Page:
    items: list[Item] = []
    size = 0
    last: Entry | None = None
    for count, entry in enumerate(entries, start=1):
        stored = get(entry[1])
        size += stored.size
        if size > _MAX_PAGE_BYTES:
            return _Page(items, count - 1, last)
        last = entry
        if item_filter is None or item_filter.test(stored.item, placeholders.names, placeholders.values):
            items.append(stored.item)
        # A page that ends at its limit has a last key even if nothing follows.
        if count == limit:
            return _Page(items, count, last)
    return _Page(items, len(entries), None)
