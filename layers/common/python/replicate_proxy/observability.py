"""The one logger, tracer and metrics sink. Ids, counts and reasons are logged; inputs, outputs and secrets
never are.
"""

from __future__ import annotations

import warnings
from enum import StrEnum

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

from replicate_proxy.tracing import SampledTracer

__all__ = ["Metric", "count", "logger", "measure", "metrics", "tracer"]

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
    DISPATCH_PARKED = "DispatchParked"
    DISPATCH_UNKNOWN = "DispatchUnknown"
    DISPATCH_REJECTED = "DispatchRejected"
    FRESH_ATTEMPT = "FreshAttempt"
    WEBHOOK_ACCEPTED = "WebhookAccepted"
    WEBHOOK_REFUSED = "WebhookRefused"
    CHANGE_DROPPED = "ChangeDropped"
    SWEEP_FOUND = "SweepFound"
    SWEEP_SETTLED = "SweepSettled"
    OUTPUT_LOST = "OutputLost"
    FILE_STORED = "FileStored"
    FILE_DEGRADED = "FileDegraded"
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
    AUTH_DEGRADED = "AuthDegraded"
    AUTH_UNAVAILABLE = "AuthUnavailable"
    CACHE_FALLBACK = "CacheFallback"


def count(metric: Metric, value: float = 1) -> None:
    """Adds to a counter of this invocation."""
    metrics.add_metric(name=metric.value, unit=MetricUnit.Count, value=value)


def measure(metric: Metric, seconds: float) -> None:
    """Records a duration in seconds."""
    metrics.add_metric(name=metric.value, unit=MetricUnit.Seconds, value=seconds)
