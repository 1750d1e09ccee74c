"""Open and close the circuit breaker for calls to Replicate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replicate_proxy.audit.model import AuditAction
from replicate_proxy.observability import logger

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from replicate_proxy.audit.log import AuditLog
    from replicate_proxy.operations.ports import BreakerControl


class BreakerService:
    """Controls the breaker, and records it."""

    def __init__(self, breaker: BreakerControl, audit: AuditLog) -> None:
        self._breaker = breaker
        self._audit = audit

    def describe(self) -> Mapping[str, Any]:
        return self._breaker.describe()

    def trip(self, *, seconds: float | None = None) -> Mapping[str, Any]:
        """Open the breaker, and return its state."""
        logger.warning("circuit breaker opened by operator", seconds=seconds)
        with self._audit.change(
            AuditAction.TRIP_BREAKER,
            "breaker",
            parameters={"seconds": seconds},
            before=dict(self._breaker.describe()),
        ) as change:
            self._breaker.trip("admin", seconds=seconds)
            state = change.after = dict(self._breaker.describe())
        return state

    def reset(self) -> tuple[Mapping[str, Any], datetime | None]:
        """Close the breaker; return its state, and when the last waiting job resumes."""
        logger.warning("circuit breaker closed by operator")
        with self._audit.change(
            AuditAction.RESET_BREAKER, "breaker", before=dict(self._breaker.describe())
        ) as change:
            resume_by = self._breaker.reset()
            state = change.after = dict(self._breaker.describe())
        return state, resume_by
