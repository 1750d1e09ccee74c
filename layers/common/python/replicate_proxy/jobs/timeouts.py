"""The timeouts and limits of jobs, and the intervals between their checks. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from replicate_proxy.settings import (
    ENABLE_REPLICATE_WEBHOOKS,
    HARVEST_TIMEOUT_SECONDS,
    JOB_RETENTION_DAYS,
    POLL_INTERVAL_SECONDS,
    QUEUED_TIMEOUT_SECONDS,
    RESUBMIT_AFTER_SECONDS,
    UNKNOWN_OUTCOME_TIMEOUT_SECONDS,
    WEBHOOK_TIMEOUT_SECONDS,
)

if TYPE_CHECKING:
    from replicate_proxy.config import Environment


# Replicate deletes inputs, outputs, files and logs of API predictions one hour after completion
# (Replicate docs, predictions: data retention).
REPLICATE_RETENTION = timedelta(hours=1)

MAX_CHECK_INTERVAL = timedelta(minutes=30)
_MAX_POLL_INTERVAL_SECONDS = 30.0
# Bounds the power in `calculate_next_check`; the interval reaches its maximum earlier.
_MAX_BACKOFF_STEPS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class JobTimeouts:
    """How long the sweep leaves a job in each status before it checks it, and when a job is given up.

    `max_job_retries` bounds new attempts after transient failures at Replicate, `max_resubmissions` new
    attempts after create requests of unknown outcome that left no trace.
    """

    webhooks_enabled: bool = True
    queued_seconds: float = 120
    unknown_outcome_seconds: float = 30
    resubmit_after_seconds: float = 180
    webhook_seconds: float = 300
    poll_interval_seconds: float = 5
    cancel_seconds: float = 30
    harvest_seconds: float = 600
    max_queued_seconds: float = 24 * 3600
    max_job_retries: int = 1
    max_resubmissions: int = 5
    retention_days: int = 30

    @classmethod
    def from_env(cls, env: Environment) -> JobTimeouts:
        return cls(
            webhooks_enabled=env[ENABLE_REPLICATE_WEBHOOKS],
            queued_seconds=env[QUEUED_TIMEOUT_SECONDS],
            unknown_outcome_seconds=env[UNKNOWN_OUTCOME_TIMEOUT_SECONDS],
            resubmit_after_seconds=env[RESUBMIT_AFTER_SECONDS],
            webhook_seconds=env[WEBHOOK_TIMEOUT_SECONDS],
            poll_interval_seconds=env[POLL_INTERVAL_SECONDS],
            harvest_seconds=env[HARVEST_TIMEOUT_SECONDS],
            retention_days=env[JOB_RETENTION_DAYS],
        )

    def calculate_next_check(self, now: datetime, checks: int) -> datetime:
        """Return when to poll a running prediction that has been polled `checks` times without progress.

        With webhooks, the interval is the webhook timeout and doubles with each check. Without them, polling
        is the only source of reports, so it starts early and backs off slowly.
        """
        steps = min(checks, _MAX_BACKOFF_STEPS)
        if self.webhooks_enabled:
            interval = timedelta(seconds=self.webhook_seconds * 2.0**steps)
        else:
            seconds = max(self.poll_interval_seconds, 0.1) * 1.5**steps
            interval = timedelta(seconds=min(seconds, _MAX_POLL_INTERVAL_SECONDS))
        return now + min(interval, MAX_CHECK_INTERVAL)
