"""How long to wait before somebody looks again: one place for every patience of the pipeline. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from replicate_proxy.config import Env

if TYPE_CHECKING:
    from collections.abc import Mapping


# Replicate deletes inputs, outputs, files and logs of API predictions one hour after completion
# (Replicate docs, predictions: data retention).
RESULT_LIFETIME = timedelta(hours=1)

_LONGEST_LOOK = timedelta(minutes=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobTimeouts:
    """Patience in seconds. `fresh_attempts` is how often a job that died of Replicate's own trouble starts
    anew, `resends` how often a create request of unknown outcome, of which there is no trace, is sent again.
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
    def from_env(cls, values: Mapping[str, str]) -> JobTimeouts:
        env = Env(values)
        default = cls()
        return cls(
            webhooks_enabled=env.flag("REPLICATE_WEBHOOKS", default=True),
            queued_seconds=env.number("QUEUED_TIMEOUT_SECONDS", default.queued_seconds),
            unknown_outcome_seconds=env.number(
                "UNKNOWN_OUTCOME_TIMEOUT_SECONDS", default.unknown_outcome_seconds
            ),
            resubmit_after_seconds=env.number("RESUBMIT_AFTER_SECONDS", default.resubmit_after_seconds),
            webhook_seconds=env.number("WEBHOOK_TIMEOUT_SECONDS", default.webhook_seconds),
            poll_interval_seconds=env.number("POLL_INTERVAL_SECONDS", default.poll_interval_seconds),
            harvest_seconds=env.number("HARVEST_TIMEOUT_SECONDS", default.harvest_seconds),
            max_queued_seconds=env.number("MAX_QUEUED_SECONDS", default.max_queued_seconds),
            max_resubmissions=env.integer("MAX_RESUBMISSIONS", default.max_resubmissions),
            max_job_retries=env.integer("MAX_JOB_RETRIES", default.max_job_retries),
            retention_days=env.integer("JOB_RETENTION_DAYS", default.retention_days),
        )

    def next_check_at(self, now: datetime, checks: int) -> datetime:
        """When to ask Replicate again about a running prediction: by webhook patience, doubling with every
        look.

        Without webhooks polling is the only news there is, so it starts early and grows slowly.
        """
        if self.webhooks_enabled:
            wait = timedelta(seconds=self.webhook_seconds * 2.0 ** min(checks, 16))
        else:
            wait = timedelta(seconds=min(max(self.poll_interval_seconds, 0.1) * 1.5 ** min(checks, 16), 30.0))
        return now + min(wait, _LONGEST_LOOK)
