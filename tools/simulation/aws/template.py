"""The resources of template.yaml in the in-memory AWS.

Resources have the names that the template gives them; tables and buckets, which it leaves to CloudFormation,
have their logical IDs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tools.simulation.aws.calls import refuse_unknown
from tools.simulation.aws.events import Target
from tools.simulation.aws.queue_names import get_queue_arn, get_queue_name, get_queue_url
from tools.template.references import ReferenceResolver

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tools.simulation.aws.aws import InMemoryAws
    from tools.template.stack import Resource, Stack

# What a client of the queue, the bus or the rule cannot see
_INVISIBLE = ("KmsKeyIdentifier", "KmsMasterKeyId", "SqsManagedSseEnabled", "Tags")


def create_resources(aws: InMemoryAws, stack: Stack) -> None:
    """Create the tables, queues, bus, rules and buckets of a stack."""
    resolver = ReferenceResolver(lambda name, attribute: _get_attribute(stack.resources[name], attribute))
    for table in stack.of_type("DynamoDB::Table"):
        aws.dynamodb.create_table({"TableName": table.id, **resolver.resolve(table.properties)})
    for queue in stack.of_type("SQS::Queue"):
        _create_queue(aws, resolver.resolve(queue.properties))
    for bucket in stack.of_type("S3::Bucket"):
        aws.s3.create_bucket(bucket.id)
    for bus in stack.of_type("Events::EventBus"):
        refuse_unknown(bus.properties, "Name", *_INVISIBLE, place=bus.id)
        aws.events.create_bus(bus.properties["Name"])
    for rule in stack.of_type("Events::Rule"):
        properties = resolver.resolve(rule.properties)
        if "EventPattern" in properties:
            _create_rule(aws, rule.id, properties)


def _create_queue(aws: InMemoryAws, properties: Mapping[str, Any]) -> None:
    refuse_unknown(
        properties,
        "DelaySeconds",
        "MessageRetentionPeriod",
        "QueueName",
        "RedrivePolicy",
        "VisibilityTimeout",
        *_INVISIBLE,
        place="Queue",
    )
    redrive = properties.get("RedrivePolicy", {})
    aws.sqs.create_queue(
        properties["QueueName"],
        visibility_seconds=properties.get("VisibilityTimeout", 30),
        delay_seconds=properties.get("DelaySeconds", 0),
        retention_seconds=properties.get("MessageRetentionPeriod", 4 * 24 * 3600),
        dead_letter_queue=get_queue_name(redrive["deadLetterTargetArn"]) if redrive else None,
        max_receive_count=redrive.get("maxReceiveCount", 0),
    )


def _create_rule(aws: InMemoryAws, name: str, properties: Mapping[str, Any]) -> None:
    refuse_unknown(properties, "EventBusName", "EventPattern", "Name", "State", "Targets", place=name)
    aws.events.create_rule(
        name,
        bus=properties["EventBusName"],
        pattern=properties["EventPattern"],
        targets=[_parse_target(target) for target in properties["Targets"]],
    )


def _parse_target(target: Mapping[str, Any]) -> Target:
    refuse_unknown(target, "Arn", "DeadLetterConfig", "Id", "RetryPolicy", "SqsParameters", place="Targets")
    sqs_parameters = target.get("SqsParameters", {})
    refuse_unknown(sqs_parameters, "MessageGroupId", place="SqsParameters")
    retry, dead_letters = target.get("RetryPolicy", {}), target.get("DeadLetterConfig")
    defaults = Target("")
    return Target(
        queue=get_queue_name(target["Arn"]),
        message_group=sqs_parameters.get("MessageGroupId"),
        dead_letter_queue=get_queue_name(dead_letters["Arn"]) if dead_letters else None,
        max_retries=retry.get("MaximumRetryAttempts", defaults.max_retries),
        max_age_seconds=retry.get("MaximumEventAgeInSeconds", defaults.max_age_seconds),
    )


def _get_attribute(resource: Resource, attribute: str) -> str:
    properties = resource.properties
    match resource.type.removeprefix("AWS::"), attribute:
        case "SQS::Queue", "Ref":
            return get_queue_url(properties["QueueName"])
        case "SQS::Queue", "Arn":
            return get_queue_arn(properties["QueueName"])
        case "SQS::Queue", "QueueName":
            return str(properties["QueueName"])
        case "Events::EventBus", "Ref" | "Name":
            return str(properties["Name"])
        case "DynamoDB::Table" | "S3::Bucket", "Ref":
            return resource.id
    # Other resources (keys, functions) are not in the in-memory AWS: their attributes are names only.
    return f"{resource.id}.{attribute}"
