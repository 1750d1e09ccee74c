"""Interfaces of the operators' use cases to API Gateway, the circuit breaker and webhook redelivery."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from typing import Any

    from replicate_proxy.auth.keys import UsageLimits
    from replicate_proxy.webhooks.model import Delivery
    from replicate_proxy.webhooks.redelivery import RedeliveryResult, TenantPosition


@dataclass(frozen=True)
class Stage:
    """The API and stage through which an admin request came."""

    api_id: str
    name: str


@dataclass(frozen=True)
class UsagePlanKey:
    """An API key of API Gateway, by which a usage plan counts one caller; callers never see it."""

    id: str
    value: str


class Gateway(Protocol):
    """API Gateway's usage plans and authorizer cache."""

    def create_key(self, label: str, limits: UsageLimits, stage: Stage) -> UsagePlanKey:
        """Create a usage key in the usage plan with these limits, and the plan if it does not exist."""

    def delete_key(self, usage_key_id: str) -> None:
        """Delete a usage key. A missing key is not an error."""

    def flush_authorizer_cache(self, stage: Stage) -> bool:
        """Drop the cached responses of the authorizer; return False if that failed and they must expire."""


class BreakerControl(Protocol):
    """Manual control of the circuit breaker in front of Replicate."""

    def describe(self) -> Mapping[str, Any]: ...

    def trip(self, opened_by: str = "admin", *, seconds: float | None = None) -> None:
        """Open the breaker for `seconds`, by default for as long as it opens by itself.

        Never shortens the time for which it is open already.
        """

    def reset(self) -> datetime | None:
        """Close the breaker; return when the last waiting job resumes, None if it was closed."""


class Redeliveries(Protocol):
    """Redelivery of webhooks."""

    def redeliver(self, tenant: str, delivery_id: str) -> Delivery:
        """Raise NotFoundError for an unknown delivery."""

    def redeliver_all_failed(
        self, tenant: str, since: datetime, *, after: TenantPosition | None = None
    ) -> RedeliveryResult:
        """Redeliver a page of failed deliveries; `after` is the position at which the last page ended."""
