"""The one logger, tracer and metrics sink of all functions.

Logs, traces and metrics hold IDs, counts and reasons, but never inputs, outputs or secrets.
"""

from __future__ import annotations

import functools
import os
import threading
import time
import warnings
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.logging.formatter import LambdaPowertoolsFormatter
from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit

from replicate_proxy.errors import ConfigurationError, PermanentError, ProxyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from aws_lambda_powertools import Tracer


class SampledTracer:
    """The decorators of Powertools' Tracer, which load the X-Ray SDK only for sampled invocations.

    Powertools imports the SDK when a Tracer is created, which takes a quarter of a second of every cold
    start, while X-Ray samples one request per second and 5 % of the rest (AWS X-Ray, sampling rules). Lambda
    records the segment of the function itself in any case. Responses are not captured.
    """

    def capture_lambda_handler[**P, R](self, handler: Callable[P, R]) -> Callable[P, R]:
        """Trace the handler of a function."""
        return self._trace_if_sampled(
            handler, lambda: _create_tracer().capture_lambda_handler(handler, capture_response=False)
        )

    def capture_method[**P, R](self, method: Callable[P, R]) -> Callable[P, R]:
        """Trace one step of a function."""
        return self._trace_if_sampled(
            method, lambda: _create_tracer().capture_method(capture_response=False)(method)
        )

    def annotate(self, **annotations: str) -> None:
        """Add annotations to the current subsegment, by which X-Ray finds the trace, if it is sampled."""
        if _is_sampled():
            for name, value in annotations.items():
                _create_tracer().put_annotation(name, value)

    def _trace_if_sampled[**P, R](
        self, function: Callable[P, R], create_traced: Callable[[], Any]
    ) -> Callable[P, R]:
        get_traced = functools.cache(create_traced)

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            if not _is_sampled():
                return function(*args, **kwargs)
            result: R = get_traced()(*args, **kwargs)
            return result

        return call


def _is_sampled() -> bool:
    return "Sampled=1" in os.environ.get("_X_AMZN_TRACE_ID", "")


@functools.cache
def _create_tracer() -> Tracer:
    from aws_lambda_powertools import Tracer  # noqa: PLC0415 - loads the X-Ray SDK

    return Tracer()


# Many invocations have no metrics; Powertools warns about each of them.
warnings.filterwarnings("ignore", message="No application metrics to publish", category=UserWarning)

# CloudWatch Logs charges by the byte. The name of the log group, and the settings of the function, say the
# same for all lines.
_OMITTED_LOG_KEYS = frozenset({"service", "function_name", "function_arn", "function_memory_size"})


class CompactLogFormatter(LambdaPowertoolsFormatter):
    """Powertools' lines of JSON, without what all lines of a function have, and without the usual case."""

    def serialize(self, log: Mapping[str, Any]) -> str:
        omitted = set(_OMITTED_LOG_KEYS)
        if not log.get("cold_start"):
            omitted.add("cold_start")
        if not _is_sampled():
            omitted.add("xray_trace_id")
        return super().serialize({name: value for name, value in log.items() if name not in omitted})


logger = Logger(logger_formatter=CompactLogFormatter(utc=True), log_uncaught_exceptions=True)
tracer = SampledTracer()
metrics = Metrics()


class Metric(StrEnum):
    """The metrics of the service; docs/operations.md describes them and the alarms on them."""

    JOB_ACCEPTED = "JobAccepted"
    JOB_REPLAYED = "JobReplayed"
    JOB_SUCCEEDED = "JobSucceeded"
    JOB_FAILED = "JobFailed"
    JOB_CANCELED = "JobCanceled"
    JOB_SECONDS = "JobSeconds"
    QUEUE_SECONDS = "QueueSeconds"
    QUEUE_AGE_SECONDS = "QueueAgeSeconds"
    HARVEST_SECONDS = "HarvestSeconds"
    HARVEST_AGE_SECONDS = "HarvestAgeSeconds"
    DISPATCH_SUBMITTED = "DispatchSubmitted"
    DISPATCH_REQUEUED = "DispatchRequeued"
    JOB_HELD = "JobHeld"
    DISPATCH_UNKNOWN = "DispatchUnknown"
    DISPATCH_REJECTED = "DispatchRejected"
    JOB_RETRIED = "JobRetried"
    WEBHOOK_ACCEPTED = "WebhookAccepted"
    WEBHOOK_REJECTED = "WebhookRejected"
    UNKNOWN_STATUS_IGNORED = "UnknownStatusIgnored"
    STALE_CHANGE_IGNORED = "StaleChangeIgnored"
    JOBS_CHECKED = "JobsChecked"
    CHECK_FAILED = "CheckFailed"
    JOBS_DELETED = "JobsDeleted"
    DELETION_FAILED = "DeletionFailed"
    BATCH_FAILED = "BatchFailed"
    MESSAGE_FAILED = "MessageFailed"
    SUBMISSION_RESOLVED = "SubmissionResolved"
    OUTPUT_LOST = "OutputLost"
    FILE_STORED = "FileStored"
    FILE_NOT_STORED = "FileNotStored"
    FILE_NOT_ALLOWED = "FileNotAllowed"
    IMAGE_BYTES_BEFORE = "ImageBytesBefore"
    IMAGE_BYTES_AFTER = "ImageBytesAfter"
    IMAGE_SECONDS = "ImageSeconds"
    BREAKER_OPENED = "BreakerOpened"
    BREAKER_CLOSED = "BreakerClosed"
    UPSTREAM_THROTTLED = "UpstreamThrottled"
    TOKEN_REJECTED = "TokenRejected"  # noqa: S105 - a name, no secret
    TENANT_TOKEN_REJECTED = "TenantTokenRejected"  # noqa: S105 - a name, no secret
    DELIVERY_SUCCEEDED = "DeliverySucceeded"
    DELIVERY_ATTEMPT_FAILED = "DeliveryAttemptFailed"
    DELIVERY_FAILED = "DeliveryFailed"
    DELIVERY_SECONDS = "DeliverySeconds"
    ENDPOINT_DISABLED = "EndpointDisabled"
    AUTH_FROM_STALE_CACHE = "AuthFromStaleCache"
    AUTH_UNAVAILABLE = "AuthUnavailable"
    CACHE_UNAVAILABLE = "CacheUnavailable"
    STALE_RESPONSE_SERVED = "StaleResponseServed"
    BUDGET_NEARLY_USED = "BudgetNearlyUsed"
    BUDGET_EXCEEDED = "BudgetExceeded"
    API_SECONDS = "ApiSeconds"


# Powertools' metric set is not safe for threads, and the sweep and the harvest count in several.
_lock = threading.Lock()


def count(metric: Metric, value: float = 1, **dimensions: str) -> None:
    """Add to a counter; with dimensions, both in total and for their values.

    CloudWatch keeps, and bills, one metric for each combination of values and adds none of them up (Amazon
    CloudWatch User Guide, "Metrics concepts", "Dimensions"): values must be few, and alarms watch the total.
    """
    _record(metric, MetricUnit.Count, value, dimensions)


def record_seconds(metric: Metric, seconds: float, **dimensions: str) -> None:
    """Record a duration; with dimensions, both in total and for their values, as `count` does."""
    _record(metric, MetricUnit.Seconds, seconds, dimensions)


@contextmanager
def measure_seconds(metric: Metric, **dimensions: str) -> Iterator[None]:
    """Record how long the block takes, also if it raises."""
    started_at = time.monotonic()
    try:
        yield
    finally:
        record_seconds(metric, time.monotonic() - started_at, **dimensions)


def count_failure(metric: Metric, error: Exception) -> None:
    """Count an error that does not pass by itself; a temporary one is not counted."""
    match error:
        case ConfigurationError():
            count(metric, reason="configuration")
        case PermanentError():
            count(metric, reason="permanent")
        case ProxyError():
            pass
        case _:
            count(metric, reason="unexpected")


def _record(metric: Metric, unit: MetricUnit, value: float, dimensions: Mapping[str, str]) -> None:
    if not dimensions:
        with _lock:
            metrics.add_metric(name=metric.value, unit=unit, value=value)
        return
    document = EphemeralMetrics()
    document.add_metric(name=metric.value, unit=unit, value=value)
    document.add_dimensions(service=str(document.service), **dimensions)
    document.flush_metrics()
