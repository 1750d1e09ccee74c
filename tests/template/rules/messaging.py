"""Every asynchronous hop: its queue, dead-letter queue and alarm, and settings that lose no message."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tests.template.effective_permissions import as_list, get_function_permissions
from tools.template.stack import Resource, Stack, build_function_arn, referenced_id

_VISIBILITY_FACTOR = 6  # AWS Lambda Developer Guide, "Configuring a queue to use with Lambda"
_MIN_RECEIVES = 5
_RETENTION_SECONDS = 3600  # Replicate's documentation, "Data retention"
# The tenant in the `data` of every event. EventBridge User Guide, "Event bus targets": a target parameter may
# be a JSON path of the event ("Dynamic path parameters"), and the message group of a standard queue makes it
# a fair queue ("Amazon SQS fair and FIFO queues").
_TENANT_OF_EVENT = "$.detail.data.tenant"


def check_no_orphan_queues(stack: Stack) -> list[str]:
    consumed = {
        referenced_id(mapping.properties["EventSourceArn"]) for mapping in _get_mappings(stack, "SQS::Queue")
    }
    dead_letter_queues = find_dead_letter_queues(stack)
    return [
        f"{queue.id}: neither consumed nor a dead-letter queue"
        for queue in stack.of_type("SQS::Queue")
        if queue.id not in consumed | dead_letter_queues
    ]


def check_queue_consumers(stack: Stack) -> list[str]:
    violations = []
    for mapping in _get_mappings(stack, "SQS::Queue"):
        queue = stack.resources[referenced_id(mapping.properties["EventSourceArn"])]
        function = stack.resources[referenced_id(mapping.properties["FunctionName"])]
        violations += _check_partial_batches(mapping)
        if not mapping.properties.get("ScalingConfig", {}).get("MaximumConcurrency"):
            violations.append(f"{mapping.id}: no MaximumConcurrency")
        expected_seconds = _VISIBILITY_FACTOR * int(function.properties["Timeout"])
        if queue.properties.get("VisibilityTimeout") != expected_seconds:
            violations.append(f"{queue.id}: VisibilityTimeout is not {expected_seconds}")
        redrive = queue.properties.get("RedrivePolicy", {})
        if stack.resources.get(referenced_id(redrive.get("deadLetterTargetArn"))) is None:
            violations.append(f"{queue.id}: no dead-letter queue")
        if int(redrive.get("maxReceiveCount", 0)) < _MIN_RECEIVES:
            violations.append(f"{queue.id}: maxReceiveCount is below {_MIN_RECEIVES}")
    return violations


def check_stream_consumers(stack: Stack) -> list[str]:
    violations = []
    for mapping in _get_mappings(stack, "DynamoDB::Table"):
        properties = mapping.properties
        violations += _check_partial_batches(mapping)
        if not properties.get("BisectBatchOnFunctionError"):
            violations.append(f"{mapping.id}: a record that always fails takes its batch along")
        if int(properties.get("MaximumRetryAttempts", -1)) < 0:
            violations.append(f"{mapping.id}: retries without end")
        if int(properties.get("MaximumRecordAgeInSeconds", -1)) < 0:
            violations.append(f"{mapping.id}: no maximum record age")
        if _get_failure_destination(mapping) not in stack.resources:
            violations.append(f"{mapping.id}: records that fail for good are lost")
    return violations


def check_event_targets(stack: Stack) -> list[str]:
    violations = []
    queue_ids = {queue.id for queue in stack.of_type("SQS::Queue")}
    for rule in stack.of_type("Events::Rule"):
        for target in rule.properties["Targets"]:
            name = f"{rule.id}/{target['Id']}"
            if "RetryPolicy" not in target:
                violations.append(f"{name}: no retry policy")
            dead_letter_queue = referenced_id(target.get("DeadLetterConfig", {}).get("Arn"))
            if dead_letter_queue not in stack.resources:
                violations.append(f"{name}: no dead-letter queue")
            group = target.get("SqsParameters", {}).get("MessageGroupId")
            if referenced_id(target["Arn"]) in queue_ids and group != _TENANT_OF_EVENT:
                violations.append(f"{name}: one tenant's events can delay those of all others")
            queues = {dead_letter_queue, referenced_id(target["Arn"])} & queue_ids
            violations += [
                f"{name}: the policy of {queue} does not let the rule send"
                for queue in sorted(queues)
                if not _policy_lets_send(stack, rule, queue)
            ]
    return violations


def check_policies_of_queues_and_topics(stack: Stack) -> list[str]:
    """Each policy is about a single queue or topic, and nothing has two policies.

    Amazon SQS Developer Guide, "Special information for SQS policies", and Amazon SNS Developer Guide,
    "Special information for Amazon SNS policies": no statements that cover different queues or topics. A
    policy replaces the one that is there.
    """
    violations = []
    attached = []
    for kind, list_name in (("SQS::QueuePolicy", "Queues"), ("SNS::TopicPolicy", "Topics")):
        for policy in stack.of_type(kind):
            targets = [referenced_id(target) for target in policy.properties[list_name]]
            attached += targets
            if len(targets) != 1:
                violations.append(f"{policy.id}: is attached to {len(targets)} {list_name.lower()}")
            for statement in policy.properties["PolicyDocument"]["Statement"]:
                covered = [referenced_id(arn) for arn in as_list(statement["Resource"])]
                if covered != targets[:1]:
                    violations.append(f"{policy.id}: has a statement about {', '.join(covered)}")
    repeated = sorted(name for name, count in Counter(attached).items() if count > 1)
    return violations + [f"{name}: has several policies, of which one remains" for name in repeated]


def check_asynchronous_invocations(stack: Stack) -> list[str]:
    """A function that a rule invokes has a destination for invocations that fail for good."""
    invoked = {
        referenced_id(target["Arn"])
        for rule in stack.of_type("Events::Rule")
        for target in rule.properties["Targets"]
    }
    configured = {
        referenced_id(config.properties["FunctionName"])
        for config in stack.of_type("Lambda::EventInvokeConfig")
        if _get_failure_destination(config) in stack.resources
    }
    functions = {function.id for function in stack.of_type("Lambda::Function")}
    return [
        f"{name}: failed asynchronous invocations are lost"
        for name in sorted(invoked & functions - configured)
    ]


def check_redrives_of_invocations(stack: Stack) -> list[str]:
    """The admin function may repeat every failed invocation, by the function's ARN and by its alias.

    The record of a failure names the ARN that was invoked, which has a qualifier after a gradual release.
    """
    allowed = {
        resource
        for action, resource in get_function_permissions(stack, stack.resources["AdminFunction"])
        if action == "lambda:InvokeFunction"
    }
    violations = []
    for kind in ("Lambda::EventSourceMapping", "Lambda::EventInvokeConfig"):
        for resource in stack.of_type(kind):
            function = _resolve_alias(stack, referenced_id(resource.properties["FunctionName"]))
            if not _get_failure_destination(resource):
                continue
            arn = build_function_arn(stack.resources[function].properties["FunctionName"])
            violations += [
                f"{function}: its failed invocations cannot be repeated with{part} a qualifier"
                for part, suffix in (("out", ""), ("", ":*"))
                if not {f"{function}{suffix}", f"{arn}{suffix}"} & allowed
            ]
    return violations


def _resolve_alias(stack: Stack, name: str) -> str:
    """Return the function of an alias, or the function itself."""
    resource = stack.resources[name]
    return (
        referenced_id(resource.properties["FunctionName"]) if resource.type == "AWS::Lambda::Alias" else name
    )


def check_dead_letter_alarms(stack: Stack) -> list[str]:
    if not stack.condition_holds("HasMonitoring"):
        return []
    watched = {
        stack.find_by_name("QueueName", dimension["Value"])
        for alarm in stack.of_type("CloudWatch::Alarm")
        if alarm.properties.get("MetricName") == "ApproximateNumberOfMessagesVisible"
        and float(alarm.properties["Threshold"]) == 0
        and alarm.properties["ComparisonOperator"] == "GreaterThanThreshold"
        for dimension in alarm.properties["Dimensions"]
    }
    return [f"{name}: no alarm on its depth" for name in sorted(find_dead_letter_queues(stack) - watched)]


def check_queue_age_alarms(stack: Stack) -> list[str]:
    """Each consumed queue has an alarm on the age of its messages.

    One failed receive is no alarm: the message is received again after the visibility timeout. An hour is too
    late: Replicate deletes outputs then. A second queue of the same consumer, where messages may wait for
    hours, needs none.
    """
    if not stack.condition_holds("HasMonitoring"):
        return []
    thresholds = {
        stack.find_by_name("QueueName", dimension["Value"]): float(alarm.properties["Threshold"])
        for alarm in stack.of_type("CloudWatch::Alarm")
        if alarm.properties.get("MetricName") == "ApproximateAgeOfOldestMessage"
        and alarm.properties["ComparisonOperator"] == "GreaterThanThreshold"
        and alarm.properties["Statistic"] == "Maximum"
        for dimension in alarm.properties["Dimensions"]
    }
    mappings = _get_mappings(stack, "SQS::Queue")
    consumers = [
        referenced_id(mapping.properties["FunctionName"])
        for mapping in mappings
        if referenced_id(mapping.properties["EventSourceArn"]) in thresholds
    ]
    violations = []
    for mapping in mappings:
        queue = stack.resources[referenced_id(mapping.properties["EventSourceArn"])]
        if queue.id not in thresholds and referenced_id(mapping.properties["FunctionName"]) in consumers:
            continue
        min_seconds = int(queue.properties["VisibilityTimeout"])
        if not min_seconds < thresholds.get(queue.id, 0) < _RETENTION_SECONDS:
            violations.append(f"{queue.id}: no alarm on an age of {min_seconds} to {_RETENTION_SECONDS} s")
    return violations


def find_dead_letter_queues(stack: Stack) -> set[str]:
    """Return the queues named by redrive policies, targets, destinations and event sources."""
    references: list[Any] = [
        queue.properties.get("RedrivePolicy", {}).get("deadLetterTargetArn")
        for queue in stack.of_type("SQS::Queue")
    ]
    for rule in stack.of_type("Events::Rule"):
        references += [target.get("DeadLetterConfig", {}).get("Arn") for target in rule.properties["Targets"]]
    named = {referenced_id(reference) for reference in references}
    named |= {
        _get_failure_destination(resource)
        for kind in ("Lambda::EventSourceMapping", "Lambda::EventInvokeConfig")
        for resource in stack.of_type(kind)
    }
    return named & {queue.id for queue in stack.of_type("SQS::Queue")}


def _get_mappings(stack: Stack, source_type: str) -> list[Resource]:
    sources = {resource.id for resource in stack.of_type(source_type)}
    return [
        mapping
        for mapping in stack.of_type("Lambda::EventSourceMapping")
        if referenced_id(mapping.properties["EventSourceArn"]) in sources
    ]


def _get_failure_destination(resource: Resource) -> str:
    return referenced_id(
        resource.properties.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination")
    )


def _check_partial_batches(mapping: Resource) -> list[str]:
    if mapping.properties.get("FunctionResponseTypes") == ["ReportBatchItemFailures"]:
        return []
    return [f"{mapping.id}: one failed message fails the batch"]


def _policy_lets_send(stack: Stack, rule: Resource, queue: str) -> bool:
    for policy in stack.of_type("SQS::QueuePolicy"):
        if queue not in {referenced_id(reference) for reference in policy.properties["Queues"]}:
            continue
        for statement in policy.properties["PolicyDocument"]["Statement"]:
            sources = as_list(statement["Condition"]["ArnEquals"]["aws:SourceArn"])
            senders = {referenced_id(arn) for arn in sources}
            resources = {referenced_id(arn) for arn in as_list(statement["Resource"])}
            if statement["Effect"] == "Allow" and queue in resources and rule.id in senders:
                return True
    return False
