"""Places in API Gateway's usage plans, for deployments that have them switched on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicate_proxy.api.validation import field_error

if TYPE_CHECKING:
    from replicate_proxy.auth.keys import Limits
    from replicate_proxy.operations.ports import Gateway, Stage


@dataclass(frozen=True)
class Seat:
    """A caller's limits and how API Gateway knows it; all None where nobody is counted."""

    limits: Limits | None = None
    usage_key_id: str | None = None
    usage_key: str | None = None


class Seats:
    """With usage plans every caller needs a seat, if need be with the `default` limits; without, nobody."""

    def __init__(self, gateway: Gateway, *, default: Limits | None) -> None:
        """`default` None: this deployment has no usage plans."""
        self._gateway = gateway
        self._default = default

    def take(self, label: str, wanted: Limits | None, stage: Stage) -> Seat:
        if self._default is None:
            if wanted is not None:
                raise field_error("limits", "this deployment has no usage plans", error_type="not_enabled")
            return Seat()
        limits = wanted or self._default
        usage = self._gateway.admit(label, limits, stage)
        return Seat(limits, usage.id, usage.value)

    def give_up(self, usage_key_id: str | None) -> None:
        if usage_key_id is not None:
            self._gateway.expel(usage_key_id)
