"""What the pages show of budgets."""

from __future__ import annotations

import pytest

from replicate_proxy.budgets.model import BudgetOwner, BudgetPeriod, BudgetState, BudgetWindow
from replicate_proxy.console.pages.overview import build_budget_rows
from tests.support.clock import NOW


def make_state(committed_micro_usd: int, *, limit_micro_usd: int = 1000, tenant: str = "acme") -> BudgetState:
    window = BudgetWindow.of(BudgetOwner(tenant), BudgetPeriod.DAY, NOW)
    return BudgetState(window, limit_micro_usd, committed_micro_usd)


@pytest.mark.parametrize(
    ("committed", "percent", "kind"),
    [(0, 0, "good"), (799, 79, "good"), (800, 80, "trouble"), (999, 99, "trouble"), (1000, 100, "bad")],
)
def test_budget_is_shown_as_used_up_only_if_nothing_is_left(committed: int, percent: int, kind: str) -> None:
    (row,) = build_budget_rows([make_state(committed)])

    assert (row["percent"], row["kind"]) == (percent, kind)


def test_fullest_budget_comes_first_also_within_a_percent() -> None:
    states = [
        make_state(991, tenant="acme"),
        make_state(999, tenant="globex"),
        make_state(5, limit_micro_usd=0),
    ]

    assert [row["tenant"] for row in build_budget_rows(states)] == ["acme", "globex", "acme"]
