"""Tell operators on the bus that a budget is nearly used up, and that it is used up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy.budgets.model import ALERT_PERCENTAGES, ALL_PERCENT
from replicate_proxy.clock import format_timestamp
from replicate_proxy.contracts.events import Event, EventName, EventSource
from replicate_proxy.costs.money import format_usd
from replicate_proxy.errors import RetryableError
from replicate_proxy.observability import logger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicate_proxy.budgets.model import BudgetState
    from replicate_proxy.budgets.ports import BudgetedJobs
    from replicate_proxy.ports import Clock, EventBus


class BudgetAlerts:
    """Publishes `BudgetThresholdReached`, once for each window, limit and percentage.

    It is recorded after the event is published, so that a crash repeats the event and loses none; the
    `event_id` is the same then. A create that is accepted does not fail because its alert does: the next one
    publishes it.
    """

    def __init__(self, store: BudgetedJobs, bus: EventBus, clock: Clock) -> None:
        self._store = store
        self._bus = bus
        self._clock = clock

    def publish(self, states: Sequence[BudgetState], *, correlation_id: str, is_exceeded: bool) -> None:
        """Publish what is new. A window that a request did not fit into (`is_exceeded`) counts as used up."""
        tightest = min(states, key=lambda state: state.left_micro_usd)
        for state in states:
            for percentage in ALERT_PERCENTAGES:
                is_refusing = is_exceeded and state is tightest and percentage == ALL_PERCENT
                if (is_refusing or state.is_used_to(percentage)) and percentage not in state.announced:
                    self._publish_one(state, percentage, correlation_id)

    def _publish_one(self, state: BudgetState, percentage: int, correlation_id: str) -> None:
        owner = state.window.owner
        event = Event(
            event_id=f"budget-{owner.tenant}-{state.window.name}-{state.limit_micro_usd}-{percentage}",
            name=EventName.BUDGET_THRESHOLD_REACHED,
            source=EventSource.BUDGETS,
            correlation_id=correlation_id,
            created_at=self._clock.now(),
            data={
                "tenant": owner.tenant,
                "key_id": owner.key_id,
                "period": state.window.period,
                "percentage": percentage,
                "limit_usd": format_usd(state.limit_micro_usd),
                "committed_usd": format_usd(state.committed_micro_usd),
                "left_usd": format_usd(state.left_micro_usd),
                "resets_at": format_timestamp(state.window.resets_at),
            },
        )
        try:
            self._bus.publish([event])
            self._store.record_announcement(state, percentage)
        except RetryableError as error:
            logger.warning("budget alert not published", reason=str(error), percentage=percentage)
