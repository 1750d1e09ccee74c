"""Monitoring: alarms have an action, watched metrics exist, and the dashboard is complete."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from replicate_proxy.observability import Metric
from tests.template.metric_math import list_unfilled
from tools.template.stack import Resource, Stack, iterate_parts, referenced_id

if TYPE_CHECKING:
    from collections.abc import Iterator


_MAX_METRICS = 10
_MAX_EVALUATION_SECONDS = 24 * 60 * 60
_NAMESPACE = "ReplicateProxy"
_SEARCH = re.compile(r'SEARCH\(.*service="(?P<service>[^"]+)" MetricName="(?P<metric>\w+)"')
_OPTIONAL_ALARMS = {"StorageAlarm"}  # the dashboard's list of alarms cannot depend on a condition
_SHOWN_TYPES = ("CloudWatch::Alarm", "Lambda::Function", "SQS::Queue")


def check_alarm_actions(stack: Stack) -> list[str]:
    topics = {topic.id for topic in stack.of_type("SNS::Topic")}
    violations = [
        f"{alarm.id}: has no topic as its action"
        for alarm in stack.of_type("CloudWatch::Alarm")
        if not topics & {referenced_id(action) for action in alarm.properties.get("AlarmActions", [])}
    ]
    return violations + [
        f"{subscription.id}: has no topic as its subscriber"
        for subscription in stack.of_type("CE::AnomalySubscription")
        if not topics
        & {referenced_id(subscriber["Address"]) for subscriber in subscription.properties["Subscribers"]}
    ]


def check_alarm_limits(stack: Stack) -> list[str]:
    """CloudWatch accepts each alarm: ten metrics at most, and periods that make up a day at most.

    CloudWatch API Reference, "MetricDataQuery" and "PutMetricAlarm". Periods of an hour and more may make up
    seven days, which no alarm here needs.
    """
    violations = []
    for alarm in stack.of_type("CloudWatch::Alarm"):
        metrics = [
            query["MetricStat"] for query in alarm.properties.get("Metrics", []) if "MetricStat" in query
        ]
        period = max(int(part["Period"]) for part in metrics or [alarm.properties])
        if len(metrics) > _MAX_METRICS:
            violations.append(f"{alarm.id}: has {len(metrics)} metrics, and {_MAX_METRICS} are allowed")
        if period * int(alarm.properties["EvaluationPeriods"]) > _MAX_EVALUATION_SECONDS:
            violations.append(f"{alarm.id}: evaluates more than a day")
    return violations


def check_missing_data(stack: Stack) -> list[str]:
    """No alarm is silent because a metric has no samples in its outage.

    An operator of metric math has no result where one of its operands is missing (Amazon CloudWatch User
    Guide, "Using math expressions with CloudWatch metrics").
    """
    return [
        f"{alarm.id}: {name} is an operand without FILL"
        for alarm in stack.of_type("CloudWatch::Alarm")
        for name in sorted(list_unfilled(alarm))
    ]


def check_schedules(stack: Stack) -> list[str]:
    """A function that runs every few minutes has an alarm on too few invocations."""
    if not stack.condition_holds("HasMonitoring"):
        return []
    watched = {
        stack.find_by_name("FunctionName", part["Dimensions"][0]["Value"])
        for alarm in stack.of_type("CloudWatch::Alarm")
        if alarm.properties["TreatMissingData"] == "breaching"
        and alarm.properties["ComparisonOperator"] == "LessThanThreshold"
        for _, part in iterate_parts(alarm.properties)
        if isinstance(part, dict) and part.get("MetricName") == "Invocations"
    }
    scheduled = {
        referenced_id(target["Arn"]).removesuffix("Aliaslive")  # a gradual release has aliases
        for rule in stack.of_type("Events::Rule")
        if "minute" in str(rule.properties.get("ScheduleExpression"))
        for target in rule.properties["Targets"]
    }
    return [f"{name}: nothing tells that it stopped" for name in sorted(scheduled - watched)]


def check_metrics(stack: Stack) -> list[str]:
    """Alarms and dashboard name metrics that the code emits, and the service that the functions name."""
    services = {
        json.dumps(function.properties["Environment"]["Variables"]["POWERTOOLS_SERVICE_NAME"])
        for function in stack.of_type("Lambda::Function")
    }
    violations = [] if len(services) == 1 else [f"the functions have {len(services)} service names"]
    for watcher, metric, service in _iterate_own_metrics(stack):
        if metric not in list(Metric):
            violations.append(f"{watcher}: nothing emits {metric}")
        if json.dumps(service) not in services:
            violations.append(f"{watcher}: {metric} is of another service")
    return violations


def check_dashboard(stack: Stack) -> list[str]:
    violations = []
    expected = {resource.id for kind in _SHOWN_TYPES for resource in stack.of_type(kind)} - _OPTIONAL_ALARMS
    for dashboard in stack.of_type("CloudWatch::Dashboard"):
        shown = set(_iterate_shown(stack, dashboard))
        violations += [f"{dashboard.id}: does not show {name}" for name in sorted(expected - shown)]
    return violations


def _iterate_shown(stack: Stack, dashboard: Resource) -> Iterator[str]:
    """Yield the logical ID of each alarm, function and queue that a widget shows."""
    for _, part in iterate_parts(_read_widgets(dashboard)):
        match part:
            case str():
                yield referenced_id({"Fn::Sub": part})
            case [_, _, ("FunctionName" | "QueueName") as property_name, name, *_]:
                yield stack.find_by_name(property_name, name)


def _iterate_own_metrics(stack: Stack) -> Iterator[tuple[str, str, Any]]:
    """Yield the alarm or dashboard, the metric and its service, for each use of one of our metrics."""
    for alarm in stack.of_type("CloudWatch::Alarm"):
        for _, part in iterate_parts(alarm.properties):
            if isinstance(part, dict) and part.get("Namespace") == _NAMESPACE:
                (dimension,) = part["Dimensions"]
                yield alarm.id, part["MetricName"], dimension["Value"]
    for dashboard in stack.of_type("CloudWatch::Dashboard"):
        for _, part in iterate_parts(_read_widgets(dashboard)):
            if isinstance(part, list) and part[:1] == [_NAMESPACE]:
                yield dashboard.id, part[1], part[3]
            elif isinstance(part, str) and (search := _SEARCH.match(part)):
                yield dashboard.id, search["metric"], search["service"]


def _read_widgets(dashboard: Resource) -> list[Any]:
    """Return the widgets; references to resources stay as `${LogicalId.Attribute}`."""
    widgets: list[Any] = json.loads(dashboard.properties["DashboardBody"]["Fn::Sub"])["widgets"]
    return widgets
