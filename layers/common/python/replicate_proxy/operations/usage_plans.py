"""Keys in API Gateway's usage plans, by which it counts and limits callers.

Usage plans are optional for a deployment. If they are enabled, every caller needs a usage key: API Gateway
rejects requests without one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicate_proxy.errors import field_error

if TYPE_CHECKING:
    from replicate_proxy.auth.keys import UsageLimits
    from replicate_proxy.operations.ports import Gateway, Stage


@dataclass(frozen=True)
class UsageAssignment:
    """A caller's limits and usage key; all None in a deployment without usage plans."""

    limits: UsageLimits | None = None
    usage_key_id: str | None = None
    usage_key: str | None = None


class UsagePlanKeys:
    """Assigns usage keys to callers; without usage plans, it assigns none."""

    def __init__(self, gateway: Gateway, *, default_limits: UsageLimits | None) -> None:
        """Set `default_limits` to None for a deployment without usage plans."""
        self._gateway = gateway
        self._default_limits = default_limits

    def assign(self, label: str, requested_limits: UsageLimits | None, stage: Stage) -> UsageAssignment:
        """Create a usage key with the requested or else the default limits.

        Raises a 422 ApiError if limits are requested in a deployment without usage plans.
        """
        if self._default_limits is None:
            if requested_limits is not None:
                raise field_error("limits", "this deployment has no usage plans", error_type="not_enabled")
            return UsageAssignment()
        limits = requested_limits or self._default_limits
        usage_key = self._gateway.create_key(label, limits, stage)
        return UsageAssignment(limits, usage_key.id, usage_key.value)

    def remove(self, usage_key_id: str | None) -> None:
        """Delete a usage key; None is accepted for callers that have none."""
        if usage_key_id is not None:
            self._gateway.delete_key(usage_key_id)
