"""A bound on the requests that wait, per tenant and in all.

A request that waits occupies an execution environment. An account has 1,000 of them by default (AWS Lambda
quotas), which all functions share, so callers that all wait would leave none for the authorizer.

The requests are counted in the control table, per window of some minutes: `WAIT#<name>#<window>`. A count
that a crashed process leaves behind ends with its window; at the change of windows the bound can be exceeded
by as many requests as still wait from the old one.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicate_proxy.aws.control_table import ConditionFailedError
from replicate_proxy.errors import RetryableError
from replicate_proxy.observability import logger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from replicate_proxy.aws.control_table import ControlTable
    from replicate_proxy.ports import Clock


_WINDOW_SECONDS = 300


@dataclass(frozen=True, slots=True)
class ControlTableWaitLimiter:
    """The WaitLimiter port on the control table."""

    table: ControlTable
    clock: Clock
    max_waiting: int
    max_waiting_per_tenant: int

    @contextmanager
    def hold_place(self, tenant: str) -> Iterator[bool]:
        """Hold a place for the block, and yield whether one was free. Without the table none is."""
        window = int(self.clock.now().timestamp()) // _WINDOW_SECONDS
        places = {
            f"WAIT#tenant/{tenant}#{window}": self.max_waiting_per_tenant,
            f"WAIT#all#{window}": self.max_waiting,
        }
        taken: list[str] = []
        try:
            for key, limit in places.items():
                if not self._take(key, limit, window):
                    break
                taken.append(key)
            yield len(taken) == len(places)
        finally:
            for key in taken:
                self._release(key)

    def _take(self, key: str, limit: int, window: int) -> bool:
        try:
            self.table.update(
                key,
                "ADD waiting :one SET expires_at = :expires_at",
                {"one": 1, "limit": limit, "expires_at": (window + 3) * _WINDOW_SECONDS},
                condition="attribute_not_exists(waiting) OR waiting < :limit",
            )
        except (ConditionFailedError, RetryableError) as error:
            logger.info("request does not wait", reason=type(error).__name__)
            return False
        return True

    def _release(self, key: str) -> None:
        try:
            self.table.update(key, "ADD waiting :minus_one", {"minus_one": -1})
        except RetryableError as error:
            logger.warning("place of waiting request not released, it expires", reason=str(error))
