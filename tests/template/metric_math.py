"""Evaluate an alarm as CloudWatch does, for the expressions, statistics and settings that the templates use.

Facts, from the Amazon CloudWatch User Guide:
- A period without samples has no data point ("Metrics concepts", "Periods").
- An operator on two series has a data point only where both have one; FILL adds the missing ones; SUM and MAX
  of several series use those that there are ("Using math expressions with CloudWatch metrics").
- The alarm looks at the last EvaluationPeriods periods and needs DatapointsToAlarm breaching ones; a missing
  one counts as TreatMissingData says ("Configuring how CloudWatch alarms treat missing data").
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tools.template.stack import Resource

type Series = Mapping[int, float]
"""Data points by number of the period."""
type Samples = Mapping[int, list[float]]
"""The samples of a metric by minute."""
type MetricName = str
"""`namespace/name`, or `namespace/name/value` with the value of the dimension that is not `service`."""

_OPERATORS: dict[type[ast.AST], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: lambda left, right: left / right if right else math.nan,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.Eq: operator.eq,
    ast.And: lambda left, right: left and right,
}
_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "GreaterThanThreshold": operator.gt,
    "GreaterThanUpperThreshold": operator.gt,
    "LessThanThreshold": operator.lt,
}


def name_metric(metric: Mapping[str, Any]) -> MetricName:
    """Return the name of a metric of an alarm."""
    values = [
        dimension["Value"]
        for dimension in metric.get("Dimensions", [])
        if dimension["Name"] not in {"service", "ApiName", "Stage", "BucketName"}
    ]
    return "/".join([metric["Namespace"], metric["MetricName"], *map(str, values)])


def list_metrics(alarm: Resource) -> list[MetricName]:
    """Return the names of the metrics that the alarm watches."""
    properties = alarm.properties
    if "MetricName" in properties:
        return [name_metric(properties)]
    return [name_metric(query["MetricStat"]["Metric"]) for query in _list_queries(alarm)]


def list_unfilled(alarm: Resource) -> set[str]:
    """Return the metrics' IDs that an expression uses as an operand without FILL around them."""
    ids = {query["Id"] for query in _list_queries(alarm)}
    unfilled: set[str] = set()
    for query in alarm.properties.get("Metrics", []):
        if "Expression" in query:
            tree = _parse(query["Expression"])
            filled = {
                id(name)
                for call in ast.walk(tree)
                if isinstance(call, ast.Call) and ast.unparse(call.func) in {"FILL", "ANOMALY_DETECTION_BAND"}
                for name in ast.walk(call)
            }
            unfilled |= {
                node.id
                for node in ast.walk(tree)
                if isinstance(node, ast.Name) and node.id in ids and id(node) not in filled
            }
    return unfilled


@dataclass(frozen=True)
class AlarmEvaluator:
    """An alarm, and the upper end of the band that anomaly detection has learned, if it has one."""

    alarm: Resource
    band: float = math.inf

    def is_alarm(self, samples: Mapping[MetricName, Samples], *, minute: int) -> bool:
        """Return whether the alarm is in ALARM after that minute."""
        properties = self.alarm.properties
        period = self._period_minutes
        last = (minute + 1) // period - 1
        periods = range(last - int(properties["EvaluationPeriods"]) + 1, last + 1)
        series = self._evaluate({name: dict(values) for name, values in samples.items()}, periods)
        threshold = self.band if "ThresholdMetricId" in properties else float(properties["Threshold"])
        breaches = _COMPARISONS[properties["ComparisonOperator"]]
        is_missing_breaching = properties["TreatMissingData"] == "breaching"
        breaching = sum(
            breaches(series[number], threshold) if number in series else is_missing_breaching
            for number in periods
        )
        return bool(breaching >= int(properties.get("DatapointsToAlarm", properties["EvaluationPeriods"])))

    @property
    def _period_minutes(self) -> int:
        properties = self.alarm.properties
        seconds = properties.get("Period") or _list_queries(self.alarm)[0]["MetricStat"]["Period"]
        return int(seconds) // 60

    def _evaluate(self, samples: Mapping[MetricName, Samples], periods: range) -> Series:
        properties = self.alarm.properties
        if "MetricName" in properties:
            statistic = properties.get("Statistic") or properties["ExtendedStatistic"]
            return self._aggregate(samples.get(name_metric(properties), {}), statistic)
        series = {
            query["Id"]: self._aggregate(
                samples.get(name_metric(query["MetricStat"]["Metric"]), {}), query["MetricStat"]["Stat"]
            )
            for query in _list_queries(self.alarm)
        }
        (result,) = [query for query in properties["Metrics"] if query["ReturnData"]][:1]
        if "ThresholdMetricId" in properties:
            (result,) = [query for query in properties["Metrics"] if "MetricStat" in query]
            return series[result["Id"]]
        evaluated: Series = _Expression(series, periods).evaluate(result["Expression"])
        return evaluated

    def _aggregate(self, samples: Samples, statistic: str) -> Series:
        periods: dict[int, list[float]] = {}
        for minute, values in samples.items():
            periods.setdefault(minute // self._period_minutes, []).extend(values)
        return {number: _calculate(statistic, values) for number, values in periods.items() if values}


class _Expression:
    """Evaluates metric math over series; a plain number is a constant series."""

    def __init__(self, series: Mapping[str, Series], periods: range) -> None:
        self._series = series
        self._periods = periods

    def evaluate(self, expression: str) -> Any:
        return self._evaluate(_parse(expression).body)

    def _evaluate(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=value):
                return value
            case ast.Name(id=name):
                return self._series[name]
            case ast.List(elts=elements):
                return [self._evaluate(element) for element in elements]
            case (
                ast.BinOp(left=left, op=sign, right=right)
                | ast.Compare(left=left, ops=[sign], comparators=[right])
                | ast.BoolOp(op=sign, values=[left, right])
            ):
                return self._combine(_OPERATORS[type(sign)], left, right)
            case ast.Call(func=ast.Name(id=name), args=arguments):
                return getattr(self, f"_{name.lower()}")(*arguments)
        raise AssertionError(f"not evaluated here: {ast.unparse(node)}")

    def _combine(self, function: Callable[[float, float], float], *nodes: ast.expr) -> Series:
        left, right = (self._spread(self._evaluate(node)) for node in nodes)
        return {number: float(function(left[number], right[number])) for number in left.keys() & right.keys()}

    def _spread(self, value: Any) -> Series:
        return value if isinstance(value, Mapping) else dict.fromkeys(self._periods, float(value))

    def _fill(self, node: ast.expr, filler: ast.expr) -> Series:
        return {**self._spread(self._evaluate(filler)), **self._evaluate(node)}

    def _if(self, condition: ast.expr, then: ast.expr, otherwise: ast.expr) -> Series:
        decisions = self._spread(self._evaluate(condition))
        branches = self._spread(self._evaluate(then)), self._spread(self._evaluate(otherwise))
        chosen = {number: branches[0] if decision else branches[1] for number, decision in decisions.items()}
        return {number: branch[number] for number, branch in chosen.items() if number in branch}

    def _metrics(self) -> list[Series]:
        return list(self._series.values())

    def _sum(self, node: ast.expr) -> Series:
        return _join(self._evaluate(node), sum)

    def _max(self, node: ast.expr) -> Series:
        return _join(self._evaluate(node), max)


def _join(series: list[Series], function: Callable[[list[float]], float]) -> Series:
    numbers = {number for values in series for number in values}
    return {number: function([values[number] for values in series if number in values]) for number in numbers}


def _calculate(statistic: str, values: list[float]) -> float:
    match statistic:
        case "Sum":
            return sum(values)
        case "Maximum":
            return max(values)
        case "Average":
            return sum(values) / len(values)
        case "SampleCount":
            return len(values)
    percent = float(statistic.removeprefix("p"))
    return sorted(values)[max(math.ceil(percent / 100 * len(values)) - 1, 0)]


def _parse(expression: str) -> ast.Expression:
    """Parse an expression of metric math, whose syntax is Python's but for its function names and AND."""
    return ast.parse(re.sub(r"\bIF\(", "IF (", expression.replace(" AND ", " and ")), mode="eval")


def _list_queries(alarm: Resource) -> list[dict[str, Any]]:
    return [query for query in alarm.properties.get("Metrics", []) if "MetricStat" in query]
