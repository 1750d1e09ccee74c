"""What a deployment on AWS needs: names that fit and are unique, an order, and resources that outlive it."""

from __future__ import annotations

import hashlib
import time
from graphlib import CycleError, TopologicalSorter
from itertools import combinations
from typing import TYPE_CHECKING, Any

from tools.release.target import MAX_STACK_NAME_LENGTH
from tools.template.stack import REGION, STACK_NAME, Resource, Stack, iterate_references, referenced_id

if TYPE_CHECKING:
    from collections.abc import Iterator


_LONGEST_REGION = "us-isof-south-1"
# Property that names a resource, and the longest name that the service accepts: "Quotas" and API references.
_MAX_NAME_LENGTHS = {
    "ApiGateway::RestApi": ("Name", 1024),
    "CE::AnomalyMonitor": ("MonitorName", 1024),
    "CE::AnomalySubscription": ("SubscriptionName", 1024),
    "CloudFront::KeyGroup": ("KeyGroupConfig/Name", 128),
    "CloudFront::OriginAccessControl": ("OriginAccessControlConfig/Name", 64),
    "CloudFront::OriginRequestPolicy": ("OriginRequestPolicyConfig/Name", 128),
    "CloudFront::PublicKey": ("PublicKeyConfig/Name", 128),
    "CloudFront::ResponseHeadersPolicy": ("ResponseHeadersPolicyConfig/Name", 128),
    "CloudWatch::Alarm": ("AlarmName", 255),
    "CloudWatch::Dashboard": ("DashboardName", 255),
    "Events::EventBus": ("Name", 256),
    "KMS::Alias": ("AliasName", 256),
    "Lambda::Function": ("FunctionName", 64),
    "SNS::Topic": ("TopicName", 256),
    "SQS::Queue": ("QueueName", 80),
}
# Types whose names are unique in an account, not in a region of it. IAM's names are left to CloudFormation.
_GLOBAL_TYPES = {
    "CE::AnomalyMonitor",
    "CE::AnomalySubscription",
    "CloudFront::KeyGroup",
    "CloudFront::OriginAccessControl",
    "CloudFront::OriginRequestPolicy",
    "CloudFront::PublicKey",
    "CloudFront::ResponseHeadersPolicy",
    "CloudWatch::Dashboard",
}
_UNNAMED_PROPERTIES = {
    "DynamoDB::Table": "TableName",
    "IAM::ManagedPolicy": "ManagedPolicyName",
    "IAM::Role": "RoleName",
    "S3::Bucket": "BucketName",
}
# Types that hold data or settings which others depend on, and are kept when the stack is deleted.
_RETAINED_TYPES = {
    "ApiGateway::Account": "other APIs of the account use the setting",
    "DynamoDB::Table": "data",
    "KMS::Key": "encrypts retained data",
    "S3::Bucket": "data",
}
_SECONDS_OF_A_DAY = 24 * 60 * 60


def check_names(stack: Stack) -> list[str]:
    """Every name fits for the longest stack name, and is unique in what it has to be unique in."""
    violations = []
    for kind, (path, max_length) in _MAX_NAME_LENGTHS.items():
        for resource, name in _iterate_names(stack, kind, path):
            if STACK_NAME not in name:
                violations.append(f"{resource.id}: a second stack would have the same name {name}")
            if kind in _GLOBAL_TYPES and REGION not in name:
                violations.append(f"{resource.id}: {name} is the same in every region of an account")
            longest = name.replace(STACK_NAME, "x" * MAX_STACK_NAME_LENGTH).replace(REGION, _LONGEST_REGION)
            if len(longest) > max_length:
                violations.append(
                    f"{resource.id}: has {len(longest)} characters, and {max_length} are allowed"
                )
    return violations + [
        f"{resource.id}: is named by {name}, so it cannot be replaced"
        for kind, name in _UNNAMED_PROPERTIES.items()
        for resource in stack.of_type(kind)
        if name in resource.properties
    ]


def check_every_named_type_has_a_limit(stack: Stack) -> list[str]:
    """No resource of another type is named after the stack."""
    return [
        f"{resource.id}: no limit is known for the name of a {resource.type}"
        for resource in stack.resources.values()
        for key, value in resource.properties.items()
        if key.endswith("Name")
        and isinstance(value, str)
        and value.startswith(STACK_NAME)
        and resource.type.removeprefix("AWS::") not in _MAX_NAME_LENGTHS
    ]


def check_retained_resources(stack: Stack) -> list[str]:
    """Data outlives its stack, except when the very deployment that creates it fails.

    CloudFormation Template Reference, "DeletionPolicy attribute": RetainExceptOnCreate. A replacement has no
    such value.
    """
    required = {"DeletionPolicy": "RetainExceptOnCreate", "UpdateReplacePolicy": "Retain"}
    kept = [resource for kind in _RETAINED_TYPES for resource in stack.of_type(kind)]
    kept += [
        stack.resources[referenced_id(account.properties["CloudWatchRoleArn"])]
        for account in stack.of_type("ApiGateway::Account")
    ]
    return [
        f"{resource.id}: {name} is not {value}"
        for resource in kept
        for name, value in required.items()
        if resource.declared.get(name) != value
    ]


def check_logging_role(stack: Stack) -> list[str]:
    """A stage with logs is created after the account has its logging role, and that after the first API.

    CloudFormation Template Reference, "AWS::ApiGateway::Account"; API Gateway Developer Guide, "Set up
    CloudWatch logging for REST APIs".
    """
    accounts = {account.id for account in stack.of_type("ApiGateway::Account")}
    apis = {api.id for api in stack.of_type("ApiGateway::RestApi")}
    violations = [
        f"{stage.id}: may be created before the account has its logging role"
        for stage in stack.of_type("ApiGateway::Stage")
        if "AccessLogSetting" in stage.properties and not accounts & _find_dependencies(stack, stage.id)
    ]
    return violations + [
        f"{account}: may be set before the account has any API"
        for account in sorted(accounts)
        if not apis & _find_dependencies(stack, account)
    ]


def check_order_of_tables(stack: Stack) -> list[str]:
    """No two tables with indexes are created at the same time.

    CloudFormation Template Reference, "AWS::DynamoDB::Table": DynamoDB limits how many such tables are in
    creation, so the template has to declare dependencies between them.
    """
    tables = [
        table.id for table in stack.of_type("DynamoDB::Table") if "GlobalSecondaryIndexes" in table.properties
    ]
    dependencies = {table: _find_dependencies(stack, table) for table in tables}
    return [
        f"{first} and {second}: may be created at the same time"
        for first, second in combinations(tables, 2)
        if first not in dependencies[second] and second not in dependencies[first]
    ]


def check_no_cycles(stack: Stack) -> list[str]:
    graph = {name: _get_references(stack, name) for name in stack.resources}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [f"circular dependency: {' → '.join(error.args[1])}"]
    return []


def check_deployments(stack: Stack) -> list[str]:
    """Every deployment of the template makes a new deployment of the API, which its stage uses.

    SAM names the API's deployment by a hash of its body, in which parameters are not resolved: the change of
    a parameter would not reach the stage. With AlwaysDeploy the hash is that of the current second (AWS SAM,
    `AWS::Serverless::Api`, "AlwaysDeploy").
    """
    violations = []
    used = {referenced_id(stage.properties["DeploymentId"]) for stage in stack.of_type("ApiGateway::Stage")}
    now = int(time.time())
    recent = {
        hashlib.sha1(str(second).encode(), usedforsecurity=False).hexdigest()[:10]
        for second in range(now - _SECONDS_OF_A_DAY, now + 1)
    }
    for deployment in stack.of_type("ApiGateway::Deployment"):
        if deployment.id not in used:
            violations.append(f"{deployment.id}: no stage uses it")
        if deployment.id[-10:] not in recent:
            violations.append(f"{deployment.id}: stays the same where only parameters change")
    return violations


def _iterate_names(stack: Stack, kind: str, path: str) -> Iterator[tuple[Resource, str]]:
    for resource in stack.of_type(kind):
        value: Any = resource.properties
        for step in path.split("/"):
            value = value[step]
        yield resource, str(value)


def _find_dependencies(stack: Stack, name: str) -> set[str]:
    found: set[str] = set()
    pending = [name]
    while pending:
        new = _get_references(stack, pending.pop()) - found
        found |= new
        pending += new
    return found


def _get_references(stack: Stack, name: str) -> set[str]:
    resource = stack.resources[name]
    depends_on = resource.declared.get("DependsOn", [])
    explicit = {depends_on} if isinstance(depends_on, str) else set(depends_on)
    return (explicit | set(iterate_references(resource.properties))) & stack.resources.keys()
