"""IAM policies: no wildcard action, and no wildcard resource without a reason in the table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.template.stack import Stack


# Resource and first action of a statement, and why it is allowed on all resources.
WILDCARD_REASONS = {
    ("FunctionBasics", "xray:PutTraceSegments"): "X-Ray has no resources",
    (
        "NetworkAccess",
        "ec2:CreateNetworkInterface",
    ): "Lambda checks these on all resources, whatever the subnet",
    ("DataKey", "kms:*"): "a key policy refers to its own key; the account keeps the administration",
    ("DataKey", "kms:Encrypt"): "a key policy refers to its own key",
    ("DataKey", "kms:Decrypt"): "a key policy refers to its own key",
    ("DataKey", "kms:Encrypt*"): "a key policy refers to its own key",
}
_LOCAL_WILDCARD_REASONS = {
    ("NotifyRole", "dynamodb:DescribeStream"): "the emulator does not know the table of a stream",
}
_WILDCARD_ACTIONS = {("DataKey", "kms:*"): "the account must be able to change the policy of its key"}
_AWS_MANAGED_POLICIES = {
    ("ApiLoggingRole", "AmazonAPIGatewayPushToCloudWatchLogs"): "API Gateway requires this policy",
}

type Statement = dict[str, Any]


def iterate_allow_statements(stack: Stack) -> Iterator[tuple[str, Statement]]:
    """Yield each Allow of roles, managed policies and key policies with the resource that has it."""
    for role in stack.of_type("IAM::Role"):
        for policy in role.properties.get("Policies", []):
            yield from _select_allows(role.id, policy["PolicyDocument"])
    for managed in stack.of_type("IAM::ManagedPolicy"):
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
    reasons = WILDCARD_REASONS | (_LOCAL_WILDCARD_REASONS if stack.is_local else {})
    for name, statement in iterate_allow_statements(stack):
        first_action = as_list(statement["Action"])[0]
        if "*" in as_list(statement["Resource"]) and (name, first_action) not in reasons:
            violations.append(f"{name}: {first_action} on all resources")
    # Endpoint policies allow everything that the caller's role allows, but only to this account.
    return violations + [
        f"{endpoint.id}: lets principals of other accounts through"
        for endpoint in stack.of_type("EC2::VPCEndpoint")
        for statement in endpoint.properties.get("PolicyDocument", {}).get("Statement", [{}])
        if "aws:PrincipalAccount" not in statement.get("Condition", {}).get("StringEquals", {})
    ]


def check_no_aws_managed_policies(stack: Stack) -> list[str]:
    """Policies written by AWS are wider than ours, so roles have our own only."""
    violations = []
    for role in stack.of_type("IAM::Role"):
        for policy in role.properties.get("ManagedPolicyArns", []):
            text = policy if isinstance(policy, str) else policy.get("Fn::Sub", "")
            if text and (role.id, text.rsplit("/", 1)[-1]) not in _AWS_MANAGED_POLICIES:
                violations.append(f"{role.id}: {text}")
    return violations


def as_list(value: Any) -> list[Any]:
    """Return `value`, which IAM allows to be a single element, as a list."""
    return value if isinstance(value, list) else [value]


def _select_allows(name: str, document: dict[str, Any]) -> Iterator[tuple[str, Statement]]:
    for statement in document["Statement"]:
        if statement["Effect"] == "Allow":
            yield name, statement
