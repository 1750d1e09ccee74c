"""What a function may really do: the policies of its role, without what they deny, within the boundary."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from tools.template.stack import referenced_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.template.stack import Resource, Stack

type Permission = tuple[str, str]
"""IAM action, and resource as `name_resource` names it; "*" for all resources."""

_LOGS = {"logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"}
# AWS Managed Policy Reference Guide. Each allows its actions on all resources. SAM attaches them to roles.
SAM_POLICIES = {
    "AWSLambdaBasicExecutionRole": _LOGS,
    "AWSLambdaDynamoDBExecutionRole": {
        "dynamodb:DescribeStream",
        "dynamodb:GetRecords",
        "dynamodb:GetShardIterator",
        "dynamodb:ListStreams",
        *_LOGS,
    },
    "AWSLambdaSQSQueueExecutionRole": {
        "sqs:DeleteMessage",
        "sqs:GetQueueAttributes",
        "sqs:ReceiveMessage",
        *_LOGS,
    },
    "AWSLambdaVPCAccessExecutionRole": {
        "ec2:AssignPrivateIpAddresses",
        "ec2:CreateNetworkInterface",
        "ec2:DeleteNetworkInterface",
        "ec2:DescribeNetworkInterfaces",
        "ec2:DescribeSubnets",
        "ec2:UnassignPrivateIpAddresses",
        *_LOGS,
    },
    "AWSXrayWriteOnlyAccess": {
        "xray:GetSamplingRules",
        "xray:GetSamplingStatisticSummaries",
        "xray:GetSamplingTargets",
        "xray:PutTelemetryRecords",
        "xray:PutTraceSegments",
    },
}


def get_function_permissions(stack: Stack, function: Resource) -> set[Permission]:
    role = stack.resources[referenced_id(function.properties["Role"])]
    documents = [policy["PolicyDocument"] for policy in role.properties.get("Policies", [])]
    arns = role.properties.get("ManagedPolicyArns", [])
    own = [stack.resources[referenced_id(arn)] for arn in arns if referenced_id(arn)]
    documents += [policy.properties["PolicyDocument"] for policy in own]
    statements = [statement for document in documents for statement in document["Statement"]]
    permissions = set(_iterate_allowed(statements))
    for arn in arns:
        if not referenced_id(arn):
            permissions |= {(action, "*") for action in SAM_POLICIES.get(get_policy_name(arn), {"*"})}
    permissions = {left for permission in permissions for left in _subtract_denials(permission, statements)}
    boundary = stack.resources.get(referenced_id(role.properties.get("PermissionsBoundary")))
    if boundary is None:
        return permissions
    limits = boundary.properties["PolicyDocument"]["Statement"]
    return {left for permission in permissions for left in _limit(permission, limits)}


def find_boundaries(stack: Stack) -> set[str]:
    """Return the policies that roles have as their boundary. A boundary allows nothing by itself."""
    roles = stack.of_type("IAM::Role")
    return {
        referenced_id(role.properties["PermissionsBoundary"])
        for role in roles
        if "PermissionsBoundary" in role.properties
    }


def get_policy_name(arn: Any) -> str:
    """Return the last part of the ARN of a managed policy, or "" for a policy of the stack."""
    return arn.rsplit("/", 1)[-1] if isinstance(arn, str) else ""


def name_resource(resource: Any) -> str:
    """Return the logical ID that an ARN refers to and what follows, as `JobsTable/index/by_due`."""
    match resource:
        case str():
            return resource
        case {"Fn::Sub": str(text)} if referenced_id(resource):
            return referenced_id(resource) + text.split("}", 1)[1]
    return referenced_id(resource) or json.dumps(resource)


def as_list(value: Any) -> list[Any]:
    """Return `value`, which IAM allows to be a single element, as a list."""
    return value if isinstance(value, list) else [value]


def _iterate_allowed(statements: list[dict[str, Any]]) -> Iterator[Permission]:
    for statement in statements:
        if statement["Effect"] == "Allow":
            for action in as_list(statement["Action"]):
                for resource in as_list(statement["Resource"]):
                    # SAM's policy templates allow `sqs:SendMessage*`; IAM has no other action of that prefix.
                    yield action.removesuffix("*") or action, name_resource(resource)


def _subtract_denials(permission: Permission, statements: list[dict[str, Any]]) -> Iterator[Permission]:
    """Yield what is left. The templates deny by NotResource, that is everywhere but on some resources."""
    action, resource = permission
    for statement in statements:
        if statement["Effect"] == "Deny" and action in as_list(statement["Action"]):
            spared = {name_resource(arn) for arn in as_list(statement["NotResource"])}
            yield from ((action, name) for name in spared if resource in {"*", name})
            return
    yield permission


def _limit(permission: Permission, limits: list[dict[str, Any]]) -> Iterator[Permission]:
    """Yield the part of a permission that a boundary allows as well."""
    action, resource = permission
    for limit in limits:
        if "NotAction" in limit:
            applies = not any(fnmatchcase(action, pattern) for pattern in limit["NotAction"])
        else:
            applies = any(fnmatchcase(action, pattern) for pattern in as_list(limit["Action"]))
        if applies:
            for limited in map(name_resource, as_list(limit["Resource"])):
                if limited == "*":
                    yield permission
                elif resource in {"*", limited}:
                    yield action, limited
