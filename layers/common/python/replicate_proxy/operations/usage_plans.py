"""Places in API Gateway's usage plans, for deployments that have them switched on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicate_proxy.api.validation import field_error

if TYPE_CHECKING:
    from replicate_proxy.auth.keys import UsageLimits
    from replicate_proxy.operations.ports import Gateway, Stage


@dataclass(frozen=True)
class UsageAssignment:
    """A caller's limits and how API Gateway knows it; all None where nobody is counted."""

    limits: UsageLimits | None = None
    usage_key_id: str | None = None
    usage_key: str | None = None


class UsagePlanKeys:
    """With usage plans every caller needs a seat, if need be with the `default` limits; without, nobody."""

    def __init__(self, gateway: Gateway, *, default_limits: UsageLimits | None) -> None:
        """`default` None: this deployment has no usage plans."""
        self._gateway = gateway
        self._default = default_limits

    def assign(self, label: str, requested_limits: UsageLimits | None, stage: Stage) -> UsageAssignment:
        if self._default is None:
            if requested_limits is not None:
                raise field_error("limits", "this deployment has no usage plans", error_type="not_enabled")
            return UsageAssignment()
        limits = requested_limits or self._default
        usage = self._gateway.create_key(label, limits, stage)
        return UsageAssignment(limits, usage.id, usage.value)

    def remove(self, usage_key_id: str | None) -> None:
        if usage_key_id is not None:
            self._gateway.delete_key(usage_key_id)
