"""No function may do what its code never asks for: each role's grants against the AWS calls within reach."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

import pytest

from tests.template.rules.permissions import statements
from tests.template.stack import Resource, Stack, load, target
from tests.template.test_environment import FUNCTIONS, ROOT, reachable
from tests.template.test_rules import VARIANTS

if TYPE_CHECKING:
    from collections.abc import Iterator

type Grant = tuple[str, str]  # IAM action, and for DynamoDB the table
type Body = tuple[str, str, ast.AST]  # class and method, each empty where there is none, and the code

ACTIONS = {
    "batch_get_records": "dynamodb:BatchGetItem",
    "delete_item": "dynamodb:DeleteItem",
    "describe_stream": "dynamodb:DescribeStream",
    "get_item": "dynamodb:GetItem",
    "get_records": "dynamodb:GetRecords",
    "get_shard_iterator": "dynamodb:GetShardIterator",
    "put_item": "dynamodb:PutItem",
    "query": "dynamodb:Query",
    "transact_write_items": "dynamodb:PutItem",
    "update_item": "dynamodb:UpdateItem",
    "abort_multipart_upload": "s3:AbortMultipartUpload",
    "delete_object": "s3:DeleteObject",
    "generate_presigned_post": "s3:PutObject",
    "generate_presigned_url": "s3:GetObject",
    "get_object": "s3:GetObject",
    "head_object": "s3:GetObject",
    "list_objects_v2": "s3:ListBucket",
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
    "put_parameter": "ssm:PutParameter",
}
# Where each class that calls DynamoDB does it
TABLES = {
    "ControlTable": "ControlTable",
    "DynamoBatchStore": "JobsTable",
    "DynamoEndpointStore": "DeliveriesTable",
    "DynamoFileStore": "AccessTable",
    "DynamoIdempotencyStore": "JobsTable",
    "DynamoJobStore": "JobsTable",
    "DynamoKeyStore": "AccessTable",
    "DynamoLanes": "DeliveriesTable",
    "DynamoOutbox": "DeliveriesTable",
    "DynamoTenantSecrets": "DeliveriesTable",
    "DynamoTenantStore": "AccessTable",
    "LostBatches": "JobsTable",
}
# What Lambda itself does in a function's name: logs, traces, networks, and reading what feeds the function
BASICS = {"logs:CreateLogStream", "logs:PutLogEvents", "xray:PutTraceSegments", "xray:PutTelemetryRecords"}
QUEUE_SOURCE = {"ReceiveMessage", "DeleteMessage", "ChangeMessageVisibility", "GetQueueAttributes"}
STREAM_SOURCE = {"DescribeStream", "GetRecords", "GetShardIterator", "ListStreams"}


def bodies(nodes: list[ast.AST]) -> Iterator[Body]:
    """Functions, and the methods of classes one by one; those of a class with a base can be called by it."""
    for node in nodes:
        if not isinstance(node, ast.ClassDef):
            yield "", "", node
            continue
        for part in node.body:
            method = part.name if isinstance(part, ast.FunctionDef) and not node.bases else ""
            yield node.name, "" if method.startswith("__") else method, part


def used(nodes: list[ast.AST]) -> list[Body]:
    """Those that anything used speaks of, by name: whatever object they are called on."""
    waiting, found, named = list(bodies(nodes)), [], {""}
    while fresh := [body for body in waiting if body[1] in named]:
        waiting = [body for body in waiting if body[1] not in named]
        found += fresh
        named |= {
            part.attr for _, _, node in fresh for part in ast.walk(node) if isinstance(part, ast.Attribute)
        }
    return found


def calls(node: ast.AST) -> Iterator[str]:
    """Names of functions and methods called, and of the operations that paginators call."""
    for part in ast.walk(node):
        if isinstance(part, ast.Call) and isinstance(part.func, ast.Name):
            yield part.func.id
        if isinstance(part, ast.Call) and isinstance(part.func, ast.Attribute):
            given = part.args[0] if part.func.attr == "get_paginator" else None
            yield str(given.value) if isinstance(given, ast.Constant) else part.func.attr


def asked(function: str) -> set[Grant]:
    """What the function's code can ask of AWS."""
    found = set()
    for owner, _, node in used(reachable(ROOT / "functions" / function / "app.py", "lambda_handler")):
        for action in (ACTIONS[name] for name in calls(node) if name in ACTIONS):
            if owner == "DaxJobCache":
                found.add((action.replace("dynamodb", "dax"), ""))
            elif not action.startswith("dynamodb:"):
                found.add((action, ""))
            elif owner in TABLES:  # other classes have methods of these names
                found.add((action, TABLES[owner]))
    return found


def granted(stack: Stack, role: Resource) -> set[Grant]:
    """What the role's own and its managed policies allow."""
    attached = [stack.resources[target(one)] for one in role.properties["ManagedPolicyArns"]]
    documents = [one["PolicyDocument"] for one in role.properties["Policies"]]
    return {
        (action, target(resource) if action.startswith("dynamodb:") else "")
        for document in (*documents, *(one.properties["PolicyDocument"] for one in attached))
        for statement in document["Statement"]
        for action in listed(statement["Action"])
        for resource in listed(statement["Resource"])
    }


def lambdas_own(stack: Stack, function: Resource) -> set[Grant]:
    """What the service needs of the role beside the code."""
    found = {(action, "") for action in BASICS}
    if "VpcConfig" in function.properties:
        (joining,) = stack.resources["NetworkAccess"].properties["PolicyDocument"]["Statement"]
        found |= {(action, "") for action in joining["Action"]}
    for one in (*stack.of("Lambda::EventSourceMapping"), *stack.of("Lambda::EventInvokeConfig")):
        if target(one.properties["FunctionName"]) != function.id:
            continue
        if "DestinationConfig" in one.properties:
            found.add(("sqs:SendMessage", ""))
        source = target(one.properties.get("EventSourceArn"))
        if source.endswith("Table"):
            found |= {(f"dynamodb:{action}", source) for action in STREAM_SOURCE}
        elif source:
            found |= {(f"sqs:{action}", "") for action in QUEUE_SOURCE}
    return found


def service(action: str) -> str:
    """The service as its endpoint names it; a stream is not read where its table is."""
    stream = action.removeprefix("dynamodb:") in STREAM_SOURCE
    return "dynamodb-streams" if stream else action.partition(":")[0]


def function_id(function: str) -> str:
    return f"{function.title()}Function"


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


@pytest.mark.parametrize("variant", ["default", "everything"])
@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_role_grants_what_the_code_asks_for_and_no_more(function: str, variant: str) -> None:
    stack = load(**VARIANTS[variant])
    resource = stack.resources[function_id(function)]
    grants = granted(stack, stack.resources[target(resource.properties["Role"])])

    assert grants - asked(function) - lambdas_own(stack, resource) == set()


def test_who_reads_documents_can_see_whether_one_is_gone() -> None:
    stack = load()
    readers = {
        name
        for name, statement in statements(stack)
        for resource in listed(statement["Resource"])
        if "s3:GetObject" in listed(statement["Action"])
        if str(resource.get("Fn::Sub")).endswith(("/records/*", "/events/*"))
    }
    listing = {
        role.id
        for role in stack.of("IAM::Role")
        if "ListDocuments" in {target(one) for one in role.properties["ManagedPolicyArns"]}
    }
    (statement,) = stack.resources["ListDocuments"].properties["PolicyDocument"]["Statement"]

    assert readers == listing
    assert statement["Condition"] == {"StringLike": {"s3:prefix": ["records/*", "events/*"]}}


def test_inside_the_network_functions_call_what_has_an_endpoint_there() -> None:
    stack = load(**VARIANTS["everything"])
    inside = {
        function for function in FUNCTIONS if "VpcConfig" in stack.resources[function_id(function)].properties
    }
    called = {
        service(action)
        for function in inside
        for action, _ in asked(function) & granted(stack, stack.resources[f"{function.title()}Role"])
    }
    endpoints = [one.properties["ServiceName"]["Fn::Sub"] for one in stack.of("EC2::VPCEndpoint")]

    assert called == {
        "dax",
        *(name.rpartition(".")[2] for name in endpoints),
    }  # DAX's nodes are in the network


def test_a_call_is_found_where_only_a_used_method_makes_it() -> None:
    module = ast.parse(
        "class Store:\n"
        "    def read(self): return self._client.get_item()\n"
        "    def drop(self): return self._client.delete_item()\n"
        "def handle(store): return store.read()\n"
    )
    assert [name for _, _, node in used(list(module.body)) for name in calls(node)] == ["read", "get_item"]
