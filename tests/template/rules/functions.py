"""Every function: log group, role, limits, an environment without secrets, and who may invoke it."""

from __future__ import annotations

import re
from collections import Counter

from tools.template.stack import Stack, iterate_parts, referenced_id

_MAX_API_SECONDS = 29  # API Gateway ends an integration after 29 s by default
_REQUIRED_VARIABLES = {"LOG_LEVEL", "POWERTOOLS_SERVICE_NAME", "POWERTOOLS_METRICS_NAMESPACE"}
_SECRET_NAME = re.compile(r"SECRET|TOKEN|PASSWORD|CREDENTIAL|API_KEY")
# Each run of a schedule is the first request of its second, which X-Ray samples.
_UNSAMPLED = {"SweepFunction"}
# Variables whose names suggest a secret, and what they hold instead.
_REFERENCES_TO_SECRETS = {
    "REPLICATE_API_TOKEN": "the name of a parameter",
    "REPLICATE_WEBHOOK_SECRET": "the name of a parameter",
    "SIGNING_SECRET_ARN": "an ARN",
    "TENANT_TOKENS_PREFIX": "a part of the names of parameters",
    "TENANT_WEBHOOK_SECRETS_PREFIX": "a part of the names of parameters",
}


def check_log_groups(stack: Stack) -> list[str]:
    logged = {
        referenced_id(group.properties["LogGroupName"])
        for group in stack.of_type("Logs::LogGroup")
        if int(group.properties.get("RetentionInDays", 0)) > 0
    }
    return [
        f"{function.id}: no log group with retention"
        for function in stack.of_type("Lambda::Function")
        if function.id not in logged
    ]


def check_roles_not_shared(stack: Stack) -> list[str]:
    users = Counter(
        referenced_id(function.properties["Role"]) for function in stack.of_type("Lambda::Function")
    )
    return [f"{role}: used by {count} functions" for role, count in users.items() if count > 1 or not role]


def check_tracing_and_limits(stack: Stack) -> list[str]:
    behind_api = {
        referenced_id(permission.properties["FunctionName"])
        for permission in stack.of_type("Lambda::Permission")
        if permission.properties["Principal"] == "apigateway.amazonaws.com"
    }
    violations = []
    for function in stack.of_type("Lambda::Function"):
        mode = "PassThrough" if function.id in _UNSAMPLED else "Active"
        if function.properties.get("TracingConfig", {}).get("Mode") != mode:
            violations.append(f"{function.id}: not traced")
        if function.id in behind_api and int(function.properties["Timeout"]) > _MAX_API_SECONDS:
            violations.append(f"{function.id}: timeout is longer than API Gateway's")
        missing = _REQUIRED_VARIABLES - set(function.properties["Environment"]["Variables"])
        violations += [f"{function.id}: no {name}" for name in sorted(missing)]
    return violations


def check_no_secrets_in_environment(stack: Stack) -> list[str]:
    violations = [
        f"{path}, {name}: a secret in a parameter would end up where it is used"
        for path, template in stack.templates.items()
        for name, declared in template["Parameters"].items()
        if declared.get("NoEcho")
    ]
    for function in stack.of_type("Lambda::Function"):
        for name, value in function.properties["Environment"]["Variables"].items():
            if _SECRET_NAME.search(name) and name not in _REFERENCES_TO_SECRETS:
                violations.append(f"{function.id}: the name {name} suggests a secret")
            for _, part in iterate_parts(value):
                if isinstance(part, str) and "{{resolve:" in part:
                    violations.append(f"{function.id}: {name} is a secret by dynamic reference")
    return violations


def check_invoke_permissions(stack: Stack) -> list[str]:
    return [
        f"{permission.id}: any {permission.properties['Principal']} may invoke"
        for permission in stack.of_type("Lambda::Permission")
        if not {"SourceArn", "SourceAccount"} & permission.properties.keys()
    ]


def check_no_reserved_concurrency(stack: Stack) -> list[str]:
    """Lambda refuses a reservation that leaves an account fewer than 100 unreserved executions.

    New accounts have a limit of 10 (AWS Lambda Developer Guide, "Configuring reserved concurrency").
    """
    return [
        f"{function.id}: reserves concurrency, which accounts with a low limit refuse"
        for function in stack.of_type("Lambda::Function")
        if "ReservedConcurrentExecutions" in function.properties
    ]
