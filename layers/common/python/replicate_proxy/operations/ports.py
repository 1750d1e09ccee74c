"""What administration needs from outside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from typing import Any

    from replicate_proxy.auth.keys import UsageLimits
    from replicate_proxy.webhooks.model import Delivery
    from replicate_proxy.webhooks.redelivery import Redelivered


@dataclass(frozen=True)
class Stage:
    """The API and stage that an admin request came through."""

    api_id: str
    name: str


@dataclass(frozen=True)
class UsageKey:
    """API Gateway's name and value for one caller of a usage plan."""

    id: str
    value: str


class Gateway(Protocol):
    """What API Gateway does for keys."""

    def create_key(self, label: str, limits: UsageLimits, stage: Stage) -> UsageKey:
        """Gives a caller its place in the usage plan that has these limits, if need be by making it."""

    def delete_key(self, usage_key_id: str) -> None:
        """Takes the place away; one that is gone already is no error."""

    def flush_authorizer_cache(self, stage: Stage) -> bool:
        """Drops the authorizer's cached answers; False where they have to run out by themselves."""


class BreakerControl(Protocol):
    """The circuit breaker in front of Replicate, by hand."""

    def describe(self) -> Mapping[str, Any]: ...

    def trip(self, opened_by: str = "admin", *, seconds: float | None = None) -> None:
        """Opens it, for `seconds` or as long as it would stay open by itself."""

    def reset(self) -> None: ...


class Redeliveries(Protocol):
    """Webhook deliveries once more."""

    def one(self, tenant: str, delivery_id: str) -> Delivery:
        """Raises NotFoundError."""

    def all_failed_since(self, tenant: str, since: datetime, *, cursor: str | None = None) -> Redelivered: ...
