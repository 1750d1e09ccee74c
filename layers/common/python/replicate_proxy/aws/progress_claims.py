"""Claims of jobs whose progress is asked for, in the control table: `PROGRESS#<tenant>#<job>`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicate_proxy.aws.control_table import ConditionFailedError

if TYPE_CHECKING:
    from datetime import datetime

    from replicate_proxy.aws.control_table import ControlTable
    from replicate_proxy.ports import Clock


_RETENTION_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class ControlTableProgressClaims:
    """The ProgressClaims port."""

    table: ControlTable
    clock: Clock

    def claim(self, tenant: str, job_id: str, *, until: datetime) -> bool:
        try:
            self.table.update(
                f"PROGRESS#{tenant}#{job_id}",
                "SET claimed_until = :until, expires_at = :expires_at",
                {
                    "until": round(until.timestamp() * 1000),
                    "now": round(self.clock.now().timestamp() * 1000),
                    "expires_at": int(until.timestamp()) + _RETENTION_SECONDS,
                },
                condition="attribute_not_exists(claimed_until) OR claimed_until <= :now",
            )
        except ConditionFailedError:
            return False
        return True
