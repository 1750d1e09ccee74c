"""Who may do what: no action and no resource is a star, but for the reasons in one table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.template.stack import Stack


# (resource, first action of the statement) → why its resource is a star
REASONS = {
    ("FunctionBasics", "xray:PutTraceSegments"): "X-Ray has no resources",
    (
        "NetworkAccess",
        "ec2:CreateNetworkInterface",
    ): "Lambda checks these on all resources, whatever the subnet",
    ("DataKey", "kms:*"): "a key policy speaks of its own key; the account keeps the administration",
    ("DataKey", "kms:Encrypt"): "a key policy speaks of its own key",
    ("DataKey", "kms:Decrypt"): "a key policy speaks of its own key",
    ("DataKey", "kms:Encrypt*"): "a key policy speaks of its own key",
}
_STAR_ACTIONS = {("DataKey", "kms:*"): "AWS KMS: the account must be able to change the policy of its key"}
# Endpoint policies narrow what passes, on top of every role's own; each asks for this account
_ENDPOINTS = "EC2::VPCEndpoint"
_FOREIGN = {
    ("ApiLoggingRole", "AmazonAPIGatewayPushToCloudWatchLogs"): "API Gateway asks for this very policy",
}

type Statement = dict[str, Any]


def statements(stack: Stack) -> Iterator[tuple[str, Statement]]:
    """Every Allow of roles, managed policies and key policies."""
    for role in stack.of("IAM::Role"):
        for policy in role.properties.get("Policies", []):
            yield from _allows(role.id, policy["PolicyDocument"])
    for managed in stack.of("IAM::ManagedPolicy"):
        yield from _allows(managed.id, managed.properties["PolicyDocument"])
    for key in stack.of("KMS::Key"):
        yield from _allows(key.id, key.properties["KeyPolicy"])


def no_star_action(stack: Stack) -> list[str]:
    return [
        f"{name}: {action}"
        for name, statement in statements(stack)
        for action in _list(statement["Action"])
        if action == "*" or (action.endswith(":*") and (name, action) not in _STAR_ACTIONS)
    ]


def stars_have_reasons(stack: Stack) -> list[str]:
    found = [
        f"{name}: {_list(statement['Action'])[0]} on everything"
        for name, statement in statements(stack)
        if _everything(statement) and (name, _list(statement["Action"])[0]) not in REASONS
    ]
    return found + [
        f"{endpoint.id}: lets other accounts' principals through"
        for endpoint in stack.of(_ENDPOINTS)
        for statement in endpoint.properties.get("PolicyDocument", {}).get("Statement", [{}])
        if "aws:PrincipalAccount" not in statement.get("Condition", {}).get("StringEquals", {})
    ]


def no_foreign_managed_policy(stack: Stack) -> list[str]:
    """Policies that AWS wrote are wider than ours: only our own are attached."""
    found = []
    for role in stack.of("IAM::Role"):
        for policy in role.properties.get("ManagedPolicyArns", []):
            text = policy if isinstance(policy, str) else policy.get("Fn::Sub", "")
            if text and (role.id, text.rsplit("/", 1)[-1]) not in _FOREIGN:
                found.append(f"{role.id}: {text}")
    return found


def _allows(name: str, document: dict[str, Any]) -> Iterator[tuple[str, Statement]]:
    for statement in document["Statement"]:
        if statement["Effect"] == "Allow":
            yield name, statement


def _everything(statement: Statement) -> bool:
    return any(resource == "*" for resource in _list(statement["Resource"]))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
