"""After a deployment: what the emulator leaves out or sees otherwise than AWS, set by API."""

import json
from typing import Any

import yaml

from tools.local.deploy import STACK_NAME
from tools.local.home import ROOT
from tools.local.stack import client

_BATCHED = {"sqs:SendMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility"}
_STREAM_READS = {
    f"dynamodb:{name}" for name in ("DescribeStream", "GetRecords", "GetShardIterator", "ListStreams")
}


class _Template(yaml.SafeLoader):
    """Reads a template for its literal values; an intrinsic function becomes None."""


_Template.add_multi_constructor("!", lambda *_: None)


def settle(endpoint_url: str) -> None:
    """Time to live and recovery of tables, reserved concurrency of functions, rights of roles."""
    template = yaml.load((ROOT / "template.yaml").read_text(encoding="utf-8"), _Template)  # noqa: S506 - a SafeLoader
    names = _physical_names(endpoint_url)
    for logical_id, resource in template["Resources"].items():
        properties = resource.get("Properties") or {}
        if logical_id not in names:
            continue
        if resource["Type"] == "AWS::DynamoDB::Table":
            _settle_table(client("dynamodb", endpoint_url), names[logical_id], properties)
        if resource["Type"] == "AWS::IAM::Role":
            _allow_as_seen_here(client("iam", endpoint_url), names[logical_id])
        reserved = properties.get("ReservedConcurrentExecutions")
        if resource["Type"] == "AWS::Serverless::Function" and isinstance(reserved, int):
            client("lambda", endpoint_url).put_function_concurrency(
                FunctionName=names[logical_id], ReservedConcurrentExecutions=reserved
            )


def _settle_table(dynamodb: Any, table: str, properties: dict[str, Any]) -> None:
    ttl = properties.get("TimeToLiveSpecification")
    now = dynamodb.describe_time_to_live(TableName=table)["TimeToLiveDescription"]["TimeToLiveStatus"]
    if ttl and now != "ENABLED":
        dynamodb.update_time_to_live(TableName=table, TimeToLiveSpecification=ttl)
    recovery = properties.get("PointInTimeRecoverySpecification")
    if recovery:
        specification = {"PointInTimeRecoveryEnabled": True}
        dynamodb.update_continuous_backups(TableName=table, PointInTimeRecoverySpecification=specification)


def _allow_as_seen_here(iam: Any, role: str) -> None:
    """Says what a role may do in the emulator's words.

    On AWS sqs:SendMessage covers SendMessageBatch (SQS API permissions reference), here it doesn't; and whose
    stream is read the emulator does not make out.
    """
    for name in iam.list_role_policies(RoleName=role)["PolicyNames"]:
        document = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
        for statement in document["Statement"]:
            actions = [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
            statement["Action"] = [*actions, *(f"{action}Batch" for action in actions if action in _BATCHED)]
            if set(actions) <= _STREAM_READS:
                statement["Resource"] = "*"
        iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(document))


def _physical_names(endpoint_url: str) -> dict[str, str]:
    paginator = client("cloudformation", endpoint_url).get_paginator("list_stack_resources")
    pages = paginator.paginate(StackName=STACK_NAME)
    rows = [row for page in pages for row in page["StackResourceSummaries"]]
    made = [row for row in rows if row.get("PhysicalResourceId")]
    return {row["LogicalResourceId"]: row["PhysicalResourceId"] for row in made}
