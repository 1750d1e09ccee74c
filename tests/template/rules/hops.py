"""Every asynchronous hop: its queue, its dead-letter queue, its alarm, and no message lost on the way."""

from __future__ import annotations

from typing import Any

from tests.template.stack import Resource, Stack, target

_VISIBILITY_FACTOR = 6  # AWS Lambda documentation, "Configuring a queue to use with Lambda"


def queues_are_consumed_or_dead_letter(stack: Stack) -> list[str]:
    consumed = {target(mapping.properties["EventSourceArn"]) for mapping in _mappings(stack, "SQS::Queue")}
    dead = dead_letter_queues(stack)
    return [
        f"{queue.id}: neither consumed nor a dead-letter queue"
        for queue in stack.of("SQS::Queue")
        if queue.id not in consumed | dead
    ]


def queue_consumers(stack: Stack) -> list[str]:
    found = []
    for mapping in _mappings(stack, "SQS::Queue"):
        queue = stack.resources[target(mapping.properties["EventSourceArn"])]
        function = stack.resources[target(mapping.properties["FunctionName"])]
        found += _partial_batches(mapping)
        if not mapping.properties.get("ScalingConfig", {}).get("MaximumConcurrency"):
            found.append(f"{mapping.id}: no MaximumConcurrency")
        if queue.properties.get("VisibilityTimeout") != _VISIBILITY_FACTOR * int(
            function.properties["Timeout"]
        ):
            found.append(f"{queue.id}: visibility is not {_VISIBILITY_FACTOR} × the timeout of {function.id}")
        redrive = queue.properties.get("RedrivePolicy", {})
        if stack.resources.get(target(redrive.get("deadLetterTargetArn"))) is None:
            found.append(f"{queue.id}: no dead-letter queue")
        if int(redrive.get("maxReceiveCount", 0)) < 5:
            found.append(f"{queue.id}: fewer than five receives")
    return found


def stream_consumers(stack: Stack) -> list[str]:
    found = []
    for mapping in _mappings(stack, "DynamoDB::Table"):
        properties = mapping.properties
        found += _partial_batches(mapping)
        if not properties.get("BisectBatchOnFunctionError"):
            found.append(f"{mapping.id}: a poisoned record takes its batch along")
        if int(properties.get("MaximumRetryAttempts", -1)) < 0:
            found.append(f"{mapping.id}: retries for ever")
        if int(properties.get("MaximumRecordAgeInSeconds", -1)) < 0:
            found.append(f"{mapping.id}: records grow old for ever")
        given_up = target(properties.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination"))
        if given_up not in stack.resources:
            found.append(f"{mapping.id}: records given up on are lost")
    return found


def event_targets(stack: Stack) -> list[str]:
    found = []
    for rule in stack.of("Events::Rule"):
        for one in rule.properties["Targets"]:
            name = f"{rule.id}/{one['Id']}"
            if "RetryPolicy" not in one:
                found.append(f"{name}: no retry policy")
            dead = target(one.get("DeadLetterConfig", {}).get("Arn"))
            if dead not in stack.resources:
                found.append(f"{name}: no dead-letter queue")
            queues = {dead, target(one["Arn"])} & {queue.id for queue in stack.of("SQS::Queue")}
            found += [
                f"{name}: the policy of {queue} does not let the rule send"
                for queue in sorted(queues)
                if not _may_send(stack, rule, queue)
            ]
    return found


def asynchronous_invocations(stack: Stack) -> list[str]:
    """Functions that a rule invokes: Lambda queues such calls itself; what it gives up on needs a place."""
    invoked = {target(one["Arn"]) for rule in stack.of("Events::Rule") for one in rule.properties["Targets"]}
    kept = {
        target(config.properties["FunctionName"])
        for config in stack.of("Lambda::EventInvokeConfig")
        if target(config.properties.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination"))
        in stack.resources
    }
    functions = {function.id for function in stack.of("Lambda::Function")}
    return [f"{name}: failed asynchronous calls are lost" for name in sorted(invoked & functions - kept)]


def dead_letters_raise_an_alarm(stack: Stack) -> list[str]:
    watched = {
        target(dimension["Value"])
        for alarm in stack.of("CloudWatch::Alarm")
        if alarm.properties.get("MetricName") == "ApproximateNumberOfMessagesVisible"
        and float(alarm.properties["Threshold"]) == 0
        and alarm.properties["ComparisonOperator"] == "GreaterThanThreshold"
        for dimension in alarm.properties["Dimensions"]
    }
    return [f"{name}: no alarm on its depth" for name in sorted(dead_letter_queues(stack) - watched)]


def dead_letter_queues(stack: Stack) -> set[str]:
    """Queues that redrive policies, targets, destinations and event sources name for what failed."""
    named: list[Any] = [
        queue.properties.get("RedrivePolicy", {}).get("deadLetterTargetArn")
        for queue in stack.of("SQS::Queue")
    ]
    for rule in stack.of("Events::Rule"):
        named += [one.get("DeadLetterConfig", {}).get("Arn") for one in rule.properties["Targets"]]
    for resource in (*stack.of("Lambda::EventSourceMapping"), *stack.of("Lambda::EventInvokeConfig")):
        named.append(resource.properties.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination"))
    return {target(value) for value in named} & {queue.id for queue in stack.of("SQS::Queue")}


def _mappings(stack: Stack, kind: str) -> list[Resource]:
    sources = {resource.id for resource in stack.of(kind)}
    return [
        mapping
        for mapping in stack.of("Lambda::EventSourceMapping")
        if target(mapping.properties["EventSourceArn"]) in sources
    ]


def _partial_batches(mapping: Resource) -> list[str]:
    if mapping.properties.get("FunctionResponseTypes") == ["ReportBatchItemFailures"]:
        return []
    return [f"{mapping.id}: one failed message fails the batch"]


def _may_send(stack: Stack, rule: Resource, queue: str) -> bool:
    for policy in stack.of("SQS::QueuePolicy"):
        if queue not in {target(one) for one in policy.properties["Queues"]}:
            continue
        for statement in policy.properties["PolicyDocument"]["Statement"]:
            senders = statement["Condition"]["ArnEquals"]["aws:SourceArn"]
            resources = {target(one) for one in statement["Resource"]}
            if (
                statement["Effect"] == "Allow"
                and queue in resources
                and rule.id in {target(one) for one in senders}
            ):
                return True
    return False
