"""X-Ray subsegments for the invocations that X-Ray samples; the others do not even load its SDK.

Powertools' Tracer imports the SDK when it is made, a quarter of a second of every cold start, while X-Ray
samples about one request in twenty (AWS X-Ray, sampling rules). Lambda says in `_X_AMZN_TRACE_ID` whether it
sampled this one, and records the function's own segment either way.

The one logger, tracer and metrics sink. Ids, counts and reasons are logged; inputs, outputs and secrets
never are.
"""

from __future__ import annotations

import functools
import os
import warnings
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

if TYPE_CHECKING:
    from collections.abc import Callable

    from aws_lambda_powertools import Tracer


class SampledTracer:
    """Decorators with the names and meaning of Powertools' own; responses are never captured."""

    def capture_lambda_handler[**P, R](self, handler: Callable[P, R]) -> Callable[P, R]:
        """Around the function's handler."""
        return self._where_sampled(
            handler, lambda: _tracer().capture_lambda_handler(handler, capture_response=False)
        )

    def capture_method[**P, R](self, method: Callable[P, R]) -> Callable[P, R]:
        """Around one step."""
        return self._where_sampled(method, lambda: _tracer().capture_method(capture_response=False)(method))

    def _where_sampled[**P, R](self, plain: Callable[P, R], traced: Callable[[], Any]) -> Callable[P, R]:
        made = functools.cache(traced)

        @functools.wraps(plain)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            if not _is_sampled():
                return plain(*args, **kwargs)
            result: R = made()(*args, **kwargs)
            return result

        return call


def _is_sampled() -> bool:
    return "Sampled=1" in os.environ.get("_X_AMZN_TRACE_ID", "")


@functools.cache
def _tracer() -> Tracer:
    from aws_lambda_powertools import Tracer  # noqa: PLC0415 - the point of this module

    return Tracer()


# Most invocations of some functions have nothing to count; that is no news.
warnings.filterwarnings("ignore", message="No application metrics to publish", category=UserWarning)

logger = Logger(utc=True, log_uncaught_exceptions=True)
tracer = SampledTracer()
metrics = Metrics()


class Metric(StrEnum):
    """Names of our metrics; docs/operations.md says what each one means and which alarm watches it."""

    JOB_ACCEPTED = "JobAccepted"
    JOB_REPLAYED = "JobReplayed"
    JOB_SUCCEEDED = "JobSucceeded"
    JOB_FAILED = "JobFailed"
    JOB_CANCELED = "JobCanceled"
    JOB_SECONDS = "JobSeconds"
    QUEUE_SECONDS = "QueueSeconds"
    HARVEST_SECONDS = "HarvestSeconds"
    DISPATCH_SUBMITTED = "DispatchSubmitted"
    DISPATCH_REQUEUED = "DispatchRequeued"
    DISPATCH_UNKNOWN = "DispatchUnknown"
    DISPATCH_REJECTED = "DispatchRejected"
    JOB_RETRIED = "JobRetried"
    WEBHOOK_ACCEPTED = "WebhookAccepted"
    WEBHOOK_REJECTED = "WebhookRejected"
    STALE_CHANGE_IGNORED = "StaleChangeIgnored"
    JOBS_CHECKED = "JobsChecked"
    SUBMISSION_RESOLVED = "SubmissionResolved"
    OUTPUT_LOST = "OutputLost"
    FILE_STORED = "FileStored"
    FILE_NOT_OPTIMIZED = "FileNotOptimized"
    IMAGE_BYTES_BEFORE = "ImageBytesBefore"
    IMAGE_BYTES_AFTER = "ImageBytesAfter"
    BREAKER_OPENED = "BreakerOpened"
    BREAKER_CLOSED = "BreakerClosed"
    UPSTREAM_THROTTLED = "UpstreamThrottled"
    DELIVERY_SUCCEEDED = "DeliverySucceeded"
    DELIVERY_FAILED = "DeliveryFailed"
    DELIVERY_EXHAUSTED = "DeliveryExhausted"
    DELIVERY_SECONDS = "DeliverySeconds"
    ENDPOINT_DISABLED = "EndpointDisabled"
    AUTH_FROM_STALE_CACHE = "AuthFromStaleCache"
    AUTH_UNAVAILABLE = "AuthUnavailable"
    CACHE_UNAVAILABLE = "CacheUnavailable"


def count(metric: Metric, value: float = 1) -> None:
    """Adds to a counter of this invocation."""
    metrics.add_metric(name=metric.value, unit=MetricUnit.Count, value=value)


def measure_seconds(metric: Metric, seconds: float) -> None:
    """Records a duration in seconds."""
    metrics.add_metric(name=metric.value, unit=MetricUnit.Seconds, value=seconds)
