"""The age of the oldest message of SQS queues, from CloudWatch: SQS itself does not tell it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from replicate_proxy.aws.errors import translate_aws_errors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from types_boto3_cloudwatch import CloudWatchClient
    from types_boto3_cloudwatch.type_defs import MetricDataQueryTypeDef

    from replicate_proxy.ports import Clock

_PERIOD_SECONDS = 60
# SQS publishes a value each minute, a few minutes late; after hours without messages, up to 15 minutes late
# (Amazon SQS Developer Guide, "Available CloudWatch metrics for Amazon SQS").
_LOOKBACK = timedelta(minutes=15)
_MISCONFIGURED = frozenset({"AccessDenied", "AccessDeniedException"})


class CloudWatchQueueAges:
    """The QueueAges port."""

    def __init__(self, client: CloudWatchClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock

    def read(self, queue_names: Sequence[str]) -> Mapping[str, int]:
        """Return the latest value of each queue that has one, with the time that has passed since."""
        now = self._clock.now()
        with translate_aws_errors("read metrics", misconfigured=_MISCONFIGURED):
            response = self._client.get_metric_data(
                MetricDataQueries=[_build_query(f"q{i}", name) for i, name in enumerate(queue_names)],
                StartTime=now - _LOOKBACK,
                EndTime=now,
                ScanBy="TimestampDescending",
            )
        ages: dict[str, int] = {}
        for result in response["MetricDataResults"]:
            if result["Values"]:
                passed = (now - result["Timestamps"][0]).total_seconds()
                ages[queue_names[int(result["Id"][1:])]] = round(result["Values"][0] + max(0.0, passed))
        return ages


def _build_query(query_id: str, queue_name: str) -> MetricDataQueryTypeDef:
    return {
        "Id": query_id,
        "MetricStat": {
            "Metric": {
                "Namespace": "AWS/SQS",
                "MetricName": "ApproximateAgeOfOldestMessage",
                "Dimensions": [{"Name": "QueueName", "Value": queue_name}],
            },
            "Period": _PERIOD_SECONDS,
            "Stat": "Maximum",
        },
    }
