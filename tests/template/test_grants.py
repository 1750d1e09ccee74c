"""Each function's role grants exactly the AWS calls that its code can reach."""

from __future__ import annotations

import ast
from fnmatch import fnmatchcase
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest

from replicate_proxy.aws import file_store, key_store, tenant_store
from replicate_proxy.aws.large_batch_store import DynamoLargeBatchStore
from tests.support.aws import JOBS_TABLE, create_in_memory_aws
from tests.support.builders import make_large_batch
from tests.template.effective_permissions import as_list, get_function_permissions
from tests.template.reachable_code import FUNCTIONS, find_reachable_code
from tests.template.rules.permissions import iterate_allow_statements
from tests.template.variants import load_variant
from tools.template.stack import Resource, Stack, load_stack, referenced_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.simulation.aws.calls import Call, Perform

type Grant = tuple[str, str]
"""IAM action, and for DynamoDB the table."""
type Body = tuple[str, str, ast.AST]
"""Names of class and method, each empty where there is none, and the code."""

ACTIONS = {
    "batch_delete": "dynamodb:BatchWriteItem",
    "batch_get_records": "dynamodb:BatchGetItem",
    "delete_item": "dynamodb:DeleteItem",
    "describe_stream": "dynamodb:DescribeStream",
    "get_item": "dynamodb:GetItem",
    "delete_record": "dynamodb:DeleteItem",
    "get_record": "dynamodb:GetItem",
    "get_records": "dynamodb:GetRecords",
    "get_shard_iterator": "dynamodb:GetShardIterator",
    "iterate_records": "dynamodb:Query",
    "put_item": "dynamodb:PutItem",
    "put_record": "dynamodb:PutItem",
    "query": "dynamodb:Query",
    "scan": "dynamodb:Scan",
    "transact_write_items": "dynamodb:PutItem",
    "update_item": "dynamodb:UpdateItem",
    "abort_multipart_upload": "s3:AbortMultipartUpload",
    "complete_multipart_upload": "s3:PutObject",
    "create_multipart_upload": "s3:PutObject",
    "delete_object": "s3:DeleteObject",
    "delete_objects": "s3:DeleteObject",
    "generate_presigned_post": "s3:PutObject",
    "generate_presigned_url": "s3:GetObject",
    "get_object": "s3:GetObject",
    "head_object": "s3:GetObject",
    "list_objects_v2": "s3:ListBucket",
    "list_parts": "s3:ListMultipartUploadParts",
    "put_object": "s3:PutObject",
    "change_message_visibility_batch": "sqs:ChangeMessageVisibility",
    "delete_message": "sqs:DeleteMessage",
    "get_queue_attributes": "sqs:GetQueueAttributes",
    "receive_message": "sqs:ReceiveMessage",
    "send_message": "sqs:SendMessage",
    "send_message_batch": "sqs:SendMessage",
    "create_api_key": "apigateway:POST",
    "create_usage_plan": "apigateway:POST",
    "delete_api_key": "apigateway:DELETE",
    "flush_stage_authorizers_cache": "apigateway:DELETE",
    "get_usage_plans": "apigateway:GET",
    "update_usage_plan": "apigateway:PATCH",
    "get_parameter": "ssm:GetParameter",
    "get_secret_value": "secretsmanager:GetSecretValue",
    "invoke": "lambda:InvokeFunction",
    "publish": "sns:Publish",
    "put_events": "events:PutEvents",
    "start_replay": "events:StartReplay",
    "describe_replay": "events:DescribeReplay",
    "list_replays": "events:ListReplays",
    "cancel_replay": "events:CancelReplay",
    "get_metric_data": "cloudwatch:GetMetricData",
    "put_parameter": "ssm:PutParameter",
    "delete_parameter": "ssm:DeleteParameter",
}
# The table that each class calls DynamoDB for, or the tables.
TABLES: dict[str, str | tuple[str, ...]] = {
    "ControlTable": "ControlTable",
    "DynamoAuditStore": "AuditTable",
    "DynamoBatchCounts": "UsageTable",
    "DynamoBatchStore": "JobsTable",
    "DynamoLargeBatchStore": "JobsTable",
    "DynamoBudgetStates": "UsageTable",
    "DynamoBudgetStore": "UsageTable",
    "DynamoBudgetedJobs": "UsageTable",
    "DynamoDeletionStore": "JobsTable",
    "DynamoDeliveryRemover": "DeliveriesTable",
    "DynamoEndpointStore": "DeliveriesTable",
    "DynamoFileStore": "AccessTable",
    "DynamoIdempotencyStore": "JobsTable",
    "DynamoJobIndex": "JobsTable",
    "DynamoJobStore": "JobsTable",
    "DynamoKeyStore": "AccessTable",
    "DynamoLineStore": "JobsTable",
    "DynamoReceiverLimitStore": "DeliveriesTable",
    "DynamoDeliveryStore": "DeliveriesTable",
    "DynamoSigningSecretStore": "DeliveriesTable",
    "DynamoSlotStore": "ControlTable",
    "DynamoErasureStore": "JobsTable",
    "DynamoTenantRows": ("JobsTable", "AccessTable", "DeliveriesTable", "UsageTable", "ControlTable"),
    "DynamoTenantStore": "AccessTable",
    "DynamoUsageMarkRemover": "UsageTable",
    "DynamoUsageReports": "UsageTable",
    "DynamoUsageStore": "UsageTable",
    "DynamoJobStream": "JobsTable",
}
# The partition of the access table that each class uses.
ACCESS_PARTITIONS = {
    "DynamoFileStore": "FILES#*",
    "DynamoKeyStore": "KEYS",
    "DynamoTenantStore": "TENANTS",
}
MANAGERS_OF_KEYS = ("admin", "console")
# What Lambda itself does with a function's role: logs, traces, joining a VPC, reading an event source.
BASIC_ACTIONS = {
    "logs:CreateLogStream",
    "logs:PutLogEvents",
    "xray:PutTraceSegments",
    "xray:PutTelemetryRecords",
}
VPC_ACTIONS = {
    "ec2:AssignPrivateIpAddresses",
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:UnassignPrivateIpAddresses",
}
QUEUE_SOURCE_ACTIONS = {"ReceiveMessage", "DeleteMessage", "ChangeMessageVisibility", "GetQueueAttributes"}
STREAM_SOURCE_ACTIONS = {"DescribeStream", "GetRecords", "GetShardIterator", "ListStreams"}
# Calls are found by the names of methods alone. The code uses these names, but for methods of other classes.
NAME_COLLISIONS: dict[str, set[Grant]] = {
    "admin": {
        # It cancels large batches and creates none, for which files would be read.
        ("dynamodb:BatchGetItem", "AccessTable"),
        ("dynamodb:DeleteItem", "DeliveriesTable"),
        ("sns:Publish", ""),
    },
    "authorize": {("dynamodb:PutItem", "AccessTable")},
    "batch": {
        ("dynamodb:GetItem", "DeliveriesTable"),
        ("dynamodb:PutItem", "UsageTable"),
        ("sns:Publish", ""),
    },
    "catalog": {("secretsmanager:GetSecretValue", "")},
    # The console cancels large batches and creates none, for which files would be read.
    "console": {("dynamodb:BatchGetItem", "AccessTable"), ("s3:DeleteObject", ""), ("sns:Publish", "")},
    "deliver": {("s3:PutObject", ""), ("sns:Publish", ""), ("dynamodb:UpdateItem", "ControlTable")},
    # It lists endpoints, and creates and reads none.
    "dispatch": {
        ("dynamodb:GetItem", "DeliveriesTable"),
        ("dynamodb:PutItem", "DeliveriesTable"),
        ("sns:Publish", ""),
    },
    "harvest": {("dynamodb:PutItem", "AccessTable")},
    "ingest": {
        ("dynamodb:DeleteItem", "AccessTable"),
        ("dynamodb:PutItem", "AccessTable"),
        ("s3:DeleteObject", ""),
        ("lambda:InvokeFunction", ""),  # not in the VPC, where the setting is empty
        ("dynamodb:Query", "JobsTable"),
        ("dynamodb:DeleteItem", "JobsTable"),
        # A transaction puts jobs into the jobs table and updates the budget.
        ("dynamodb:PutItem", "UsageTable"),
        ("sns:Publish", ""),
    },
    "notify": {("dynamodb:GetItem", "DeliveriesTable"), ("dynamodb:PutItem", "JobsTable")},
    "query": {("dynamodb:BatchGetItem", "UsageTable"), ("s3:PutObject", "")},
    "sweep": {("sns:Publish", "")},
    "webhook": {("s3:GetObject", ""), ("s3:ListBucket", ""), ("sns:Publish", "")},
}


def split_bodies(nodes: list[ast.AST]) -> Iterator[Body]:
    """Yield functions, and methods one by one; the methods of a class with a base have no name.

    The base can call those, so they count as used with their class.
    """
    for node in nodes:
        if not isinstance(node, ast.ClassDef):
            yield "", "", node
            continue
        for part in node.body:
            method = part.name if isinstance(part, ast.FunctionDef) and not node.bases else ""
            yield node.name, "" if method.startswith("__") else method, part


def select_used(nodes: list[ast.AST]) -> list[Body]:
    """Return the bodies whose method name is used as an attribute of any object in another used body."""
    pending, used, names = list(split_bodies(nodes)), [], {""}
    while found := [body for body in pending if body[1] in names]:
        pending = [body for body in pending if body[1] not in names]
        used += found
        names |= {
            part.attr for _, _, node in found for part in ast.walk(node) if isinstance(part, ast.Attribute)
        }
    return used


@cache
def find_used(function: str) -> list[Body]:
    """Return the bodies that the function's code can use."""
    return select_used(find_reachable_code(function))


def iterate_calls(node: ast.AST) -> Iterator[str]:
    """Yield the names of functions and methods called, and of the operations that paginators call."""
    for part in ast.walk(node):
        if isinstance(part, ast.Call) and isinstance(part.func, ast.Name):
            yield part.func.id
        if isinstance(part, ast.Call) and isinstance(part.func, ast.Attribute):
            operation = part.args[0] if part.func.attr == "get_paginator" else None
            yield str(operation.value) if isinstance(operation, ast.Constant) else part.func.attr
        # An item of a transaction
        if isinstance(part, ast.Dict) and any(
            isinstance(key, ast.Constant) and key.value == "Update" for key in part.keys
        ):
            yield "update_item"
        if isinstance(part, ast.Dict) and any(
            isinstance(key, ast.Constant) and key.value == "Delete" for key in part.keys
        ):
            yield "delete_item"


def find_called(function: str) -> set[Grant]:
    """Return what the function's code can call."""
    called = set()
    for owner, _, node in find_used(function):
        for action in (ACTIONS[name] for name in iterate_calls(node) if name in ACTIONS):
            if owner == "DaxJobCache":
                called.add((action.replace("dynamodb", "dax"), ""))
            elif not action.startswith("dynamodb:"):
                called.add((action, ""))
            elif owner in TABLES:  # other classes have methods of these names
                tables = TABLES[owner]
                called |= {(action, table) for table in ([tables] if isinstance(tables, str) else tables)}
    return called


def get_grants(stack: Stack, function: str) -> set[Grant]:
    """Return what the function's role allows in effect."""
    return {
        (action, resource.split("/")[0] if action.startswith("dynamodb:") else "")
        for action, resource in get_function_permissions(stack, get_function(stack, function))
    }


def get_service_needs(stack: Stack, function: Resource) -> set[Grant]:
    """Return what the Lambda service does with the function's role."""
    needs = {(action, "") for action in BASIC_ACTIONS}
    if "VpcConfig" in function.declared["Properties"]:  # also where it has left the VPC
        needs |= {(action, "") for action in VPC_ACTIONS}
    for resource in (
        *stack.of_type("Lambda::EventSourceMapping"),
        *stack.of_type("Lambda::EventInvokeConfig"),
    ):
        if referenced_id(resource.properties["FunctionName"]) != function.id:
            continue
        if "DestinationConfig" in resource.properties:
            needs.add(("sqs:SendMessage", ""))
        source = referenced_id(resource.properties.get("EventSourceArn"))
        if source.endswith("Table"):
            needs |= {(f"dynamodb:{action}", source) for action in STREAM_SOURCE_ACTIONS}
        elif source:
            needs |= {(f"sqs:{action}", "") for action in QUEUE_SOURCE_ACTIONS}
    return needs


def get_endpoint_service(action: str) -> str:
    """Return the service as its endpoint names it; streams have an endpoint of their own."""
    is_stream = action.removeprefix("dynamodb:") in STREAM_SOURCE_ACTIONS
    return "dynamodb-streams" if is_stream else action.partition(":")[0]


def get_function(stack: Stack, function: str) -> Resource:
    return stack.resources[f"{function.title()}Function"]


@pytest.mark.parametrize("variant", ["default", "everything"])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_role_grants_nothing_that_the_code_does_not_call(function: str, variant: str) -> None:
    stack = load_variant(variant)
    needs = find_called(function) | get_service_needs(stack, get_function(stack, function))

    assert get_grants(stack, function) - needs == set()


@pytest.mark.parametrize("function", FUNCTIONS)
def test_role_grants_everything_that_the_code_calls(function: str) -> None:
    stack = load_variant("everything")
    called = find_called(function) - NAME_COLLISIONS.get(function, set())
    needs = called | get_service_needs(stack, get_function(stack, function))

    missing = needs - get_grants(stack, function)

    assert missing == set(), "grant it, or list it in NAME_COLLISIONS if the call is never made"


def find_access_partitions(function: str) -> set[str]:
    """Return the partitions of the access table that the function's code can touch."""
    owners = {
        owner
        for owner, _, node in find_used(function)
        if any(ACTIONS.get(name, "").startswith("dynamodb:") for name in iterate_calls(node))
    }
    return {ACCESS_PARTITIONS[owner] for owner in owners if owner in ACCESS_PARTITIONS}


def get_access_conditions(function: str) -> list[dict[str, set[str]]]:
    """Return the conditions of the statements about the access table, by key."""
    role = load_stack().resources[referenced_id(get_function(load_stack(), function).properties["Role"])]
    return [
        {
            key: set(as_list(values))
            for operator in statement.get("Condition", {}).values()
            for key, values in operator.items()
        }
        for policy in role.properties.get("Policies", [])
        for statement in policy["PolicyDocument"]["Statement"]
        if "AccessTable" in {referenced_id(resource) for resource in as_list(statement.get("Resource", []))}
    ]


@pytest.mark.parametrize("function", [name for name in FUNCTIONS if name not in MANAGERS_OF_KEYS])
def test_role_grants_only_the_partitions_of_the_access_table_that_the_code_uses(function: str) -> None:
    granted: set[str] = set()
    for condition in get_access_conditions(function):
        granted |= condition["dynamodb:LeadingKeys"]

    assert granted == find_access_partitions(function)


def test_partitions_of_the_access_table_are_those_of_the_records() -> None:
    assert key_store.build_item_key("k")["pk"] == ACCESS_PARTITIONS["DynamoKeyStore"]
    assert tenant_store.build_item_key("acme")["pk"] == ACCESS_PARTITIONS["DynamoTenantStore"]
    assert file_store.build_partition_key("acme") == ACCESS_PARTITIONS["DynamoFileStore"].replace("*", "acme")


def test_only_admin_and_console_can_change_what_a_key_allows() -> None:
    updatable = [
        condition.get("dynamodb:Attributes")
        for function in FUNCTIONS
        if function not in MANAGERS_OF_KEYS
        for condition in get_access_conditions(function)
        if "KEYS" in condition["dynamodb:LeadingKeys"]
    ]
    stack = load_stack()
    writers = {
        function
        for function in FUNCTIONS
        for action in ("PutItem", "DeleteItem")
        if (f"dynamodb:{action}", "AccessTable") in get_grants(stack, function)
    }

    assert updatable == [None, {"pk", "sk", "last_used_at"}]  # of authorize: the read, and the update
    assert writers == {*MANAGERS_OF_KEYS, "files"}


def get_partitions(function: str, action: str, table: str) -> list[str]:
    """Return the patterns of the partitions for which the role of a function has the action, or `*`."""
    role = load_stack().resources[referenced_id(get_function(load_stack(), function).properties["Role"])]
    conditions = [
        statement.get("Condition", {}).get("ForAllValues:StringLike", {"dynamodb:LeadingKeys": "*"})
        for policy in role.properties["Policies"]
        for statement in policy["PolicyDocument"]["Statement"]
        if action in as_list(statement.get("Action", []))
        and table in {referenced_id(resource) for resource in as_list(statement.get("Resource", []))}
    ]
    return [pattern for condition in conditions for pattern in as_list(condition["dynamodb:LeadingKeys"])]


# Admin cancels the large batches of a tenant that it erases. The local AWS does not know this condition.
@pytest.mark.parametrize("function", ["ingest", "admin", "console", "batch"])
def test_whoever_cancels_a_large_batch_may_write_the_batch_and_its_mark(function: str) -> None:
    aws = create_in_memory_aws()
    store = DynamoLargeBatchStore(aws.client("dynamodb"), JOBS_TABLE)
    batch = store.create(make_large_batch())
    written: set[str] = set()

    def record(call: Call, perform: Perform) -> Any:
        items = [item["Put"]["Item"] for item in call.parameters.get("TransactItems", ())]
        written.update(item["pk"]["S"] for item in items or [call.parameters["Item"]])
        return perform()

    aws.gate = record
    store.replace(store.hasten(batch))
    patterns = get_partitions(function, "dynamodb:PutItem", "JobsTable")

    assert len(written) == 2
    assert [pk for pk in written if not any(fnmatchcase(pk, pattern) for pattern in patterns)] == []


def test_readers_of_documents_can_tell_a_missing_one() -> None:
    stack = load_stack()
    permissions = {name: get_function_permissions(stack, get_function(stack, name)) for name in FUNCTIONS}
    documents = {("s3:GetObject", f"DataBucket/{prefix}/*") for prefix in ("records", "events")}
    readers = {name for name in FUNCTIONS if permissions[name] & documents}
    listers = {name for name in FUNCTIONS if ("s3:ListBucket", "DataBucket") in permissions[name]}

    assert readers == listers


def test_readers_of_large_batches_can_tell_a_missing_object() -> None:
    stack = load_stack()
    listed = {
        name.removesuffix("FunctionRole").lower(): set(statement["Condition"]["StringLike"]["s3:prefix"])
        for name, statement in iterate_allow_statements(stack)
        if "s3:ListBucket" in as_list(statement["Action"])
    }
    readers = {
        name
        for name in FUNCTIONS
        if ("s3:GetObject", "DataBucket/batches/*")
        in get_function_permissions(stack, get_function(stack, name))
    }

    assert readers == {"batch", "console", "query"}
    assert {name for name in readers if "batches/*" not in listed[name]} == set()
    assert "files/*" in listed["batch"]  # the input


def test_only_documents_can_be_listed_and_by_sweep_and_admin_what_they_delete() -> None:
    prefixes = [
        tuple(statement["Condition"]["StringLike"]["s3:prefix"])
        for _, statement in iterate_allow_statements(load_stack())
        if "s3:ListBucket" in as_list(statement["Action"])
    ]
    deleted = ("outputs/*", "thumbs/*", "private/*", "originals/*", "records/*", "events/*")

    assert prefixes.count(deleted) == 1
    assert set(prefixes) == {
        ("records/*", "events/*"),
        ("records/*", "events/*", "batches/*"),
        ("batches/*", "files/*", "records/*", "events/*"),
        deleted,
        # By admin, which erases tenants
        ("outputs/*", "originals/*", "thumbs/*", "private/*", "files/*", "batches/*"),
    }


def test_functions_in_the_vpc_call_only_services_with_an_endpoint() -> None:
    stack = load_variant("everything")
    inside = [name for name in FUNCTIONS if "VpcConfig" in get_function(stack, name).properties]
    called = {
        get_endpoint_service(action)
        for function in inside
        for action, _ in find_called(function) & get_grants(stack, function)
    }
    endpoints = {
        endpoint.properties["ServiceName"].rpartition(".")[2]
        for endpoint in stack.of_type("EC2::VPCEndpoint")
    }

    assert called == {"dax", *endpoints}  # the nodes of DAX are in the VPC themselves


def test_calls_of_unused_methods_are_not_counted() -> None:
    module = ast.parse(
        "class Store:\n"
        "    def read(self): return self._client.get_item()\n"
        "    def drop(self): return self._client.delete_item()\n"
        "def handle(store): return store.read()\n"
    )
    called = [name for _, _, node in select_used(list(module.body)) for name in iterate_calls(node)]

    assert called == ["read", "get_item"]
