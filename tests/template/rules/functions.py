"""Every function: log group, role, limits, an environment without secrets, who may invoke it."""

from __future__ import annotations

import re
from collections import Counter

from tests.template.stack import Stack, target, walk

_LONGEST_API_CALL = 29  # API Gateway cuts integrations off after 29 s by default
_SECRETIVE = re.compile(r"SECRET|TOKEN|PASSWORD|CREDENTIAL|API_KEY")
# Names in the environment that sound secret, and what they hold instead
_NAMES_OF_SECRETS = {
    "REPLICATE_API_TOKEN": "the name of a parameter",
    "REPLICATE_WEBHOOK_SECRET": "the name of a parameter",
    "SIGNING_SECRET_ARN": "an ARN",
}


def log_groups(stack: Stack) -> list[str]:
    kept = {
        target(group.properties["LogGroupName"])
        for group in stack.of("Logs::LogGroup")
        if int(group.properties.get("RetentionInDays", 0)) > 0
    }
    return [
        f"{function.id}: no log group with retention"
        for function in stack.of("Lambda::Function")
        if function.id not in kept
    ]


def roles_are_own(stack: Stack) -> list[str]:
    users = Counter(target(function.properties["Role"]) for function in stack.of("Lambda::Function"))
    return [f"{role}: used by {count} functions" for role, count in users.items() if count > 1 or not role]


def traced_and_bounded(stack: Stack) -> list[str]:
    behind_api = {
        target(permission.properties["FunctionName"])
        for permission in stack.of("Lambda::Permission")
        if permission.properties["Principal"] == "apigateway.amazonaws.com"
    }
    found = []
    for function in stack.of("Lambda::Function"):
        if function.properties.get("TracingConfig", {}).get("Mode") != "Active":
            found.append(f"{function.id}: not traced")
        if function.id in behind_api and int(function.properties["Timeout"]) > _LONGEST_API_CALL:
            found.append(f"{function.id}: outlasts API Gateway")
        variables = function.properties["Environment"]["Variables"]
        wanted = {"STAGE", "LOG_LEVEL", "POWERTOOLS_SERVICE_NAME", "POWERTOOLS_METRICS_NAMESPACE"}
        found += [f"{function.id}: no {name}" for name in sorted(wanted - set(variables))]
    return found


def no_secret_in_the_environment(stack: Stack) -> list[str]:
    found = [
        f"{name}: a secret as a parameter ends up where it is used"
        for name, declared in stack.template["Parameters"].items()
        if declared.get("NoEcho")
    ]
    for function in stack.of("Lambda::Function"):
        for name, value in function.properties["Environment"]["Variables"].items():
            if _SECRETIVE.search(name) and name not in _NAMES_OF_SECRETS:
                found.append(f"{function.id}: {name} sounds like a secret")
            for _, part in walk(value):
                if isinstance(part, str) and "{{resolve:" in part:
                    found.append(f"{function.id}: {name} is a secret by dynamic reference")
    return found


def invocations_name_their_source(stack: Stack) -> list[str]:
    return [
        f"{permission.id}: any {permission.properties['Principal']} may invoke"
        for permission in stack.of("Lambda::Permission")
        if not {"SourceArn", "SourceAccount"} & permission.properties.keys()
    ]
