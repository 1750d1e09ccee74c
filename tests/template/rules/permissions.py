"""IAM policies: no wildcard action, and no wildcard resource without a reason in the tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.template.effective_permissions import (
    SAM_POLICIES,
    as_list,
    find_boundaries,
    get_function_permissions,
    get_policy_name,
)
from tools.template.stack import referenced_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.template.stack import Stack


_KEY_REASON = "a key policy refers to its own key"
_NO_RESOURCE_REASON = "the action takes no other resource (Service Authorization Reference)"
# Resource and first action of a statement, and why it is allowed on all resources.
STATEMENT_REASONS = {
    ("DataKey", "kms:*"): f"{_KEY_REASON}; the account keeps the administration",
    ("DataKey", "kms:DescribeKey"): _KEY_REASON,
    ("DataKey", "kms:Encrypt"): _KEY_REASON,
    ("DataKey", "kms:Decrypt"): _KEY_REASON,
    ("DataKey", "kms:Encrypt*"): _KEY_REASON,
    ("OperatorPolicy", "cloudwatch:GetMetricData"): _NO_RESOURCE_REASON,
    ("OperatorPolicy", "events:ListReplays"): _NO_RESOURCE_REASON,
}
_VPC_REASON = "Lambda checks these on all resources, whatever the subnet"
# Actions that functions may do on all resources, and why.
FUNCTION_REASONS = {
    "cloudwatch:GetMetricData": _NO_RESOURCE_REASON,
    "events:ListReplays": _NO_RESOURCE_REASON,
    "xray:PutTelemetryRecords": "X-Ray has no resources",
    "xray:PutTraceSegments": "X-Ray has no resources",
    "ec2:AssignPrivateIpAddresses": _VPC_REASON,
    "ec2:CreateNetworkInterface": _VPC_REASON,
    "ec2:DeleteNetworkInterface": _VPC_REASON,
    "ec2:DescribeNetworkInterfaces": _VPC_REASON,
    "ec2:DescribeSubnets": _VPC_REASON,
    "ec2:UnassignPrivateIpAddresses": _VPC_REASON,
}
_CALLS_OF_LAMBDA = {"Null": {"lambda:SourceFunctionArn": "true"}}
_STREAM_REASON = "the emulator does not know to which table a stream belongs"
_LOCAL_REASONS = {
    f"dynamodb:{name}": _STREAM_REASON
    for name in ("DescribeStream", "GetRecords", "GetShardIterator", "ListStreams")
}
_WILDCARD_ACTIONS = {("DataKey", "kms:*"): "the account must be able to change the policy of its key"}
_OTHER_AWS_POLICIES = {
    ("ApiLoggingRole", "AmazonAPIGatewayPushToCloudWatchLogs"): "API Gateway requires this policy",
}

type Statement = dict[str, Any]


def iterate_allow_statements(stack: Stack) -> Iterator[tuple[str, Statement]]:
    """Yield each Allow of roles, managed policies and key policies with the resource that has it."""
    boundaries = find_boundaries(stack)
    for role in stack.of_type("IAM::Role"):
        for policy in role.properties.get("Policies", []):
            yield from _select_allows(role.id, policy["PolicyDocument"])
    for managed in stack.of_type("IAM::ManagedPolicy"):
        if managed.id not in boundaries:
            yield from _select_allows(managed.id, managed.properties["PolicyDocument"])
    for key in stack.of_type("KMS::Key"):
        yield from _select_allows(key.id, key.properties["KeyPolicy"])


def check_no_wildcard_actions(stack: Stack) -> list[str]:
    return [
        f"{name}: {action}"
        for name, statement in iterate_allow_statements(stack)
        for action in as_list(statement["Action"])
        if action == "*" or (action.endswith(":*") and (name, action) not in _WILDCARD_ACTIONS)
    ]


def check_wildcard_resources(stack: Stack) -> list[str]:
    violations = []
    for name, statement in iterate_allow_statements(stack):
        first_action = as_list(statement["Action"])[0]
        if "*" in as_list(statement["Resource"]) and (name, first_action) not in STATEMENT_REASONS:
            violations.append(f"{name}: {first_action} on all resources")
    # Endpoint policies allow everything that the caller's role allows, but only to this account.
    return violations + [
        f"{endpoint.id}: lets principals of other accounts through"
        for endpoint in stack.of_type("EC2::VPCEndpoint")
        for statement in endpoint.properties.get("PolicyDocument", {}).get("Statement", [{}])
        if "aws:PrincipalAccount" not in statement.get("Condition", {}).get("StringEquals", {})
    ]


def check_function_permissions(stack: Stack) -> list[str]:
    """The policies that SAM attaches allow their actions on all resources: they must be narrowed."""
    reasons = FUNCTION_REASONS | (_LOCAL_REASONS if stack.is_local else {})
    return [
        f"{function.id}: {action} on all resources"
        for function in stack.of_type("Lambda::Function")
        for action, resource in sorted(get_function_permissions(stack, function))
        if resource == "*" and action not in reasons
    ]


def check_network_interfaces(stack: Stack) -> list[str]:
    """Functions that have left a VPC can give up their network interfaces; their code can use none.

    AWS Lambda Developer Guide, "Giving Lambda functions access to resources in an Amazon VPC": Lambda creates
    and deletes the interfaces by the function's role. "Using source function ARN to control function access
    behavior": calls of code have that ARN, these calls have not.
    """
    violations = []
    needed = {name for name in SAM_POLICIES["AWSLambdaVPCAccessExecutionRole"] if name.startswith("ec2:")}
    for function in stack.of_type("Lambda::Function"):
        if "VpcConfig" in function.declared["Properties"]:  # with any parameters
            allowed = {action for action, _ in get_function_permissions(stack, function)}
            violations += [f"{function.id}: lacks {action}" for action in sorted(needed - allowed)]
    return violations + [
        f"{boundary}: the code of functions may do {first_action}"
        for boundary in sorted(find_boundaries(stack))
        for _, statement in _select_allows(boundary, stack.resources[boundary].properties["PolicyDocument"])
        if (first_action := as_list(statement.get("Action", ""))[0]).startswith("ec2:")
        and statement.get("Condition") != _CALLS_OF_LAMBDA
    ]


def check_aws_managed_policies(stack: Stack) -> list[str]:
    """Roles have no policies written by AWS, except those that SAM attaches and those in the table."""
    functions = stack.of_type("Lambda::Function")
    function_roles = {referenced_id(function.properties["Role"]) for function in functions}
    violations = []
    for role in stack.of_type("IAM::Role"):
        for arn in role.properties.get("ManagedPolicyArns", []):
            name = get_policy_name(arn)
            attached_by_sam = role.id in function_roles and name in SAM_POLICIES
            if name and not attached_by_sam and (role.id, name) not in _OTHER_AWS_POLICIES:
                violations.append(f"{role.id}: {name}")
    return violations


def _select_allows(name: str, document: dict[str, Any]) -> Iterator[tuple[str, Statement]]:
    for statement in document["Statement"]:
        if statement["Effect"] == "Allow":
            yield name, statement
