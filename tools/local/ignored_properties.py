"""Set by API, after a deployment, the properties that the emulator's CloudFormation ignores."""

from typing import Any

from cfn_flip import load_yaml

from tools.local.deploy import STACK_NAME
from tools.local.home import ROOT
from tools.local.stack import client


def apply_ignored_properties(endpoint_url: str) -> None:
    """Set time to live and point-in-time recovery of tables, and reserved concurrency of functions."""
    template = load_yaml((ROOT / "template.yaml").read_text(encoding="utf-8"))
    physical_ids = _get_physical_ids(endpoint_url)
    for logical_id, resource in template["Resources"].items():
        properties = resource.get("Properties") or {}
        if logical_id not in physical_ids:
            continue
        if resource["Type"] == "AWS::DynamoDB::Table":
            _apply_to_table(client("dynamodb", endpoint_url), physical_ids[logical_id], properties)
        reserved = properties.get("ReservedConcurrentExecutions")
        if resource["Type"] == "AWS::Serverless::Function" and isinstance(reserved, int):
            client("lambda", endpoint_url).put_function_concurrency(
                FunctionName=physical_ids[logical_id], ReservedConcurrentExecutions=reserved
            )


def _apply_to_table(dynamodb: Any, table: str, properties: dict[str, Any]) -> None:
    ttl = properties.get("TimeToLiveSpecification")
    status = dynamodb.describe_time_to_live(TableName=table)["TimeToLiveDescription"]["TimeToLiveStatus"]
    if ttl and status != "ENABLED":
        dynamodb.update_time_to_live(TableName=table, TimeToLiveSpecification=dict(ttl))
    if "PointInTimeRecoverySpecification" in properties:
        dynamodb.update_continuous_backups(
            TableName=table, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
        )


def _get_physical_ids(endpoint_url: str) -> dict[str, str]:
    paginator = client("cloudformation", endpoint_url).get_paginator("list_stack_resources")
    return {
        resource["LogicalResourceId"]: resource["PhysicalResourceId"]
        for page in paginator.paginate(StackName=STACK_NAME)
        for resource in page["StackResourceSummaries"]
        if resource.get("PhysicalResourceId")
    }
