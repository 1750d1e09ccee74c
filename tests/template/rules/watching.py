"""What an operator is told and shown: alarms reach somebody, metrics exist, the dashboard is complete."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from replicate_proxy.observability import Metric
from tests.template.stack import Resource, Stack, target, walk

if TYPE_CHECKING:
    from collections.abc import Iterator


_NAMESPACE = "ReplicateProxy"
_BY_PARAMETER = {"StorageAlarm"}  # a dashboard cannot leave out one alarm of its list
_PICTURED = ("CloudWatch::Alarm", "Lambda::Function", "SQS::Queue")


def alarms_reach_somebody(stack: Stack) -> list[str]:
    topics = {topic.id for topic in stack.of("SNS::Topic")}
    told = [
        f"{alarm.id}: tells nobody"
        for alarm in stack.of("CloudWatch::Alarm")
        if not topics & {target(action) for action in alarm.properties.get("AlarmActions", [])}
    ]
    return told + [
        f"{subscription.id}: tells nobody"
        for subscription in stack.of("CE::AnomalySubscription")
        if not topics & {target(one["Address"]) for one in subscription.properties["Subscribers"]}
    ]


def own_metrics_are_counted_and_told_apart(stack: Stack) -> list[str]:
    """Whatever watches one of our metrics names one that is counted, by the name that the functions go by."""
    names = {
        json.dumps(function.properties["Environment"]["Variables"]["POWERTOOLS_SERVICE_NAME"])
        for function in stack.of("Lambda::Function")
    }
    found = [] if len(names) == 1 else [f"the functions go by {len(names)} names"]
    for watcher, metric, service in _watched(stack):
        if metric not in list(Metric):
            found.append(f"{watcher}: nothing counts {metric}")
        if json.dumps(service) not in names:
            found.append(f"{watcher}: {metric} of another service")
    return found


def the_dashboard_shows_everything(stack: Stack) -> list[str]:
    found = []
    for dashboard in stack.of("CloudWatch::Dashboard"):
        shown = {
            part.split(".")[0].removeprefix("${").removesuffix("}")
            for _, part in walk(_widgets(dashboard))
            if isinstance(part, str) and part.startswith("${")
        }
        pictured = {resource.id for kind in _PICTURED for resource in stack.of(kind)} - _BY_PARAMETER
        found += [f"{dashboard.id}: does not show {name}" for name in sorted(pictured - shown)]
    return found


def _watched(stack: Stack) -> Iterator[tuple[str, str, Any]]:
    """Who watches which of our metrics of which service."""
    for alarm in stack.of("CloudWatch::Alarm"):
        for _, part in walk(alarm.properties):
            if isinstance(part, dict) and part.get("Namespace") == _NAMESPACE:
                (dimension,) = part["Dimensions"]
                yield alarm.id, part["MetricName"], dimension["Value"]
    for dashboard in stack.of("CloudWatch::Dashboard"):
        for _, part in walk(_widgets(dashboard)):
            if isinstance(part, list) and part[:1] == [_NAMESPACE]:
                yield dashboard.id, part[1], part[3]


def _widgets(dashboard: Resource) -> list[Any]:
    """With the stack's own name filled in, and logical ids left as they are."""
    text = dashboard.properties["DashboardBody"]["Fn::Sub"]
    widgets: list[Any] = json.loads(text.replace("${AWS::StackName}", "replicate-proxy"))["widgets"]
    return widgets
