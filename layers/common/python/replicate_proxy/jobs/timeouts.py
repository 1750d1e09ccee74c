"""How long to wait before somebody looks again: one place for every patience of the pipeline. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from replicate_proxy.config import Env

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "RESULT_LIFETIME",
    "Policy",
]

# Replicate deletes inputs, outputs, files and logs of API predictions one hour after completion
# (Replicate docs, predictions: data retention).
RESULT_LIFETIME = timedelta(hours=1)

_LONGEST_LOOK = timedelta(minutes=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Patience in seconds. `fresh_attempts` is how often a job that died of Replicate's own trouble starts
    anew, `resends` how often a create request of unknown outcome, of which there is no trace, is sent again.
    """

    webhooks: bool = True
    queued: float = 120
    unknown: float = 30
    resend_after: float = 180
    webhook: float = 300
    poll: float = 5
    cancel: float = 30
    harvest: float = 600
    queue_lifetime: float = 24 * 3600
    fresh_attempts: int = 1
    resends: int = 5
    retention_days: int = 30

    @classmethod
    def from_env(cls, values: Mapping[str, str]) -> Policy:
        env = Env(values)
        default = cls()
        return cls(
            webhooks=env.flag("REPLICATE_WEBHOOKS", default=True),
            queued=env.number("QUEUED_PATIENCE_SECONDS", default.queued),
            unknown=env.number("UNKNOWN_PATIENCE_SECONDS", default.unknown),
            resend_after=env.number("RESEND_AFTER_SECONDS", default.resend_after),
            webhook=env.number("WEBHOOK_PATIENCE_SECONDS", default.webhook),
            poll=env.number("POLL_SECONDS", default.poll),
            harvest=env.number("HARVEST_PATIENCE_SECONDS", default.harvest),
            queue_lifetime=env.number("QUEUE_LIFETIME_SECONDS", default.queue_lifetime),
            resends=env.integer("RESENDS", default.resends),
            fresh_attempts=env.integer("FRESH_ATTEMPTS", default.fresh_attempts),
            retention_days=env.integer("JOB_RETENTION_DAYS", default.retention_days),
        )

    def next_look(self, now: datetime, looks: int) -> datetime:
        """When to ask Replicate again about a running prediction: by webhook patience, doubling with every
        look.

        Without webhooks polling is the only news there is, so it starts early and grows slowly.
        """
        if self.webhooks:
            wait = timedelta(seconds=self.webhook * 2.0 ** min(looks, 16))
        else:
            wait = timedelta(seconds=min(max(self.poll, 0.1) * 1.5 ** min(looks, 16), 30.0))
        return now + min(wait, _LONGEST_LOOK)
