"""Redelivery of a tenant's webhooks by operators, and the refresh of Replicate's webhook secret."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from replicate_proxy.audit.model import AuditAction, build_job_target
from replicate_proxy.clock import format_timestamp
from replicate_proxy.webhooks.model import parse_delivery_id

if TYPE_CHECKING:
    from datetime import datetime

    from replicate_proxy.audit.log import AuditLog
    from replicate_proxy.operations.ports import Redeliveries
    from replicate_proxy.replicate_api.webhook_secret import RefreshResult, WebhookSecretRefresher
    from replicate_proxy.webhooks.model import Delivery
    from replicate_proxy.webhooks.redelivery import RedeliveryResult, TenantPosition


class AuditedRedeliveries:
    """The Redeliveries port; records what operators ask for."""

    def __init__(self, redeliveries: Redeliveries, audit: AuditLog) -> None:
        self._redeliveries = redeliveries
        self._audit = audit

    def redeliver(self, tenant: str, delivery_id: str) -> Delivery:
        key = parse_delivery_id(delivery_id)
        # Under its job, whose story has it.
        target = build_job_target(tenant, key[0]) if key else "deliveries"
        parameters = {"delivery": delivery_id}
        with self._audit.change(AuditAction.REDELIVER, target, tenant=tenant, parameters=parameters):
            return self._redeliveries.redeliver(tenant, delivery_id)

    def redeliver_all_failed(
        self, tenant: str, since: datetime, *, after: TenantPosition | None = None
    ) -> RedeliveryResult:
        parameters = {"since": format_timestamp(since), "is_continued": after is not None}
        with self._audit.change(
            AuditAction.REDELIVER_FAILED, "deliveries", tenant=tenant, parameters=parameters
        ) as change:
            result = self._redeliveries.redeliver_all_failed(tenant, since, after=after)
            change.after = {"redelivered": result.count}
        return result


class WebhookSecretService:
    """Refreshes the secret that verifies Replicate's webhooks, and records it."""

    def __init__(self, refresher: WebhookSecretRefresher, audit: AuditLog) -> None:
        self._refresher = refresher
        self._audit = audit

    def refresh(self) -> RefreshResult:
        with self._audit.change(AuditAction.REFRESH_WEBHOOK_SECRET, "webhook-secret") as change:
            result = self._refresher.refresh()
            change.after = asdict(result)
        return result
