"""Budgets: their limits, the windows of time in which these apply, and reservations. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from fractions import Fraction
from typing import TYPE_CHECKING

from replicate_proxy.errors import ProxyError

if TYPE_CHECKING:
    from collections.abc import Sequence


ALL_PERCENT = 100
ALERT_PERCENTAGES = (80, ALL_PERCENT)
"""How much of a budget is used up when an event says so."""


class BudgetPeriod(StrEnum):
    """How long a limit applies; days and months are those of UTC."""

    DAY = "day"
    MONTH = "month"


@dataclass(frozen=True, slots=True)
class BudgetOwner:
    """Whose budget it is: a tenant's, or that of one of its keys."""

    tenant: str
    key_id: str | None = None

    @property
    def name(self) -> str:
        return f"tenant {self.tenant}" if self.key_id is None else f"key {self.key_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetLimits:
    """The limits of one owner, in millionths of a US dollar; None for no limit."""

    day_micro_usd: int | None = None
    month_micro_usd: int | None = None

    def get(self, period: BudgetPeriod) -> int | None:
        return self.day_micro_usd if period is BudgetPeriod.DAY else self.month_micro_usd


@dataclass(frozen=True, slots=True)
class BudgetWindow:
    """One day or month of an owner; `name` distinguishes it from the other windows of the tenant."""

    owner: BudgetOwner
    period: BudgetPeriod
    start: str

    @classmethod
    def of(cls, owner: BudgetOwner, period: BudgetPeriod, now: datetime) -> BudgetWindow:
        """Return the window that contains the moment."""
        day = now.date().isoformat()
        return cls(owner, period, day if period is BudgetPeriod.DAY else day[:7])

    @property
    def name(self) -> str:
        scope = "TENANT" if self.owner.key_id is None else f"KEY#{self.owner.key_id}"
        return f"{scope}#{self.start}"

    @property
    def resets_at(self) -> datetime:
        """The first moment after the window."""
        if self.period is BudgetPeriod.DAY:
            return datetime.fromisoformat(self.start).replace(tzinfo=UTC) + timedelta(days=1)
        year, month = map(int, self.start.split("-"))
        return datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class BudgetState:
    """A window with its limit, and what was counted in it: `spent`, and that with open reservations.

    `announced` are the percentages of this limit that an event was published for.
    """

    window: BudgetWindow
    limit_micro_usd: int
    committed_micro_usd: int = 0
    spent_micro_usd: int = 0
    announced: frozenset[int] = frozenset()

    @property
    def left_micro_usd(self) -> int:
        return max(0, self.limit_micro_usd - self.committed_micro_usd)

    def is_used_to(self, percentage: int) -> bool:
        """Return whether at least that share of the limit is spent or reserved."""
        return self.committed_micro_usd >= self.limit_micro_usd * Fraction(percentage, 100)


@dataclass(frozen=True, slots=True)
class Hold:
    """What a request reserves in all: an amount for each of its jobs, in all windows of their tenant.

    `states` are the windows as they were read before.
    """

    tenant: str
    amounts: tuple[int, ...]
    states: tuple[BudgetState, ...]

    @property
    def total_micro_usd(self) -> int:
        return sum(self.amounts)

    def find_exceeded(self) -> BudgetState | None:
        """Return the window that has the least left, if the total does not fit into it."""
        tightest = self.find_tightest()
        return tightest if tightest.left_micro_usd < self.total_micro_usd else None

    def find_tightest(self) -> BudgetState:
        return min(self.states, key=lambda state: state.left_micro_usd)


class BudgetExceededError(ProxyError):
    """A reservation did not fit into a window when it was written."""


class BudgetContentionError(ProxyError):
    """Other transactions wrote the same windows at this moment; nothing was written."""


def list_windows(owners: Sequence[BudgetOwner], now: datetime) -> list[BudgetWindow]:
    """Return the present windows of the owners."""
    return [BudgetWindow.of(owner, period, now) for owner in owners for period in BudgetPeriod]
