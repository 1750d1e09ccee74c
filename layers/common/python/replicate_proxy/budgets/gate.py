"""Reserve the worst case of a job when it is accepted, or refuse it with 402.

Only callers whose tenant or key has a budget come here (`Principal.has_budget`). The reservation is written
in one transaction with the job, so that neither exists without the other; the usage function settles it when
the job ends.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from replicate_proxy.budgets.model import (
    BudgetContentionError,
    BudgetExceededError,
    BudgetOwner,
    BudgetState,
    Hold,
)
from replicate_proxy.clock import format_timestamp
from replicate_proxy.costs.money import format_usd
from replicate_proxy.errors import ApiError, NotWrittenError
from replicate_proxy.jobs.model import Reservation
from replicate_proxy.observability import Metric, count, logger

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from replicate_proxy.auth.principal import Principal
    from replicate_proxy.budgets.alerts import BudgetAlerts
    from replicate_proxy.budgets.ports import BudgetedJobs
    from replicate_proxy.jobs.model import Batch, Job
    from replicate_proxy.ports import Clock
    from replicate_proxy.services.ingest import JobRequest

_MAX_ATTEMPTS = 12
_MAX_BACKOFF_SECONDS = 1.0
_FIRST_BACKOFF_SECONDS = 0.02
_WARNING_PERCENTAGE = 80


class BudgetGate:
    """Checks budgets and writes jobs with their reservations.

    `estimate` returns the most that a request may cost, in millionths of a US dollar.
    """

    def __init__(
        self,
        *,
        store: BudgetedJobs,
        alerts: BudgetAlerts,
        estimate: Callable[[JobRequest], int],
        clock: Clock,
        sleep: Callable[[float], None],
        random_fraction: Callable[[], float],
    ) -> None:
        self._store = store
        self._alerts = alerts
        self._estimate = estimate
        self._clock = clock
        self._sleep = sleep
        self._random_fraction = random_fraction

    def check(self, requests: Sequence[JobRequest], principal: Principal) -> Hold | None:
        """Return what the requests will reserve, None without a budget. Raises a 402 ApiError."""
        if not principal.has_budget:
            return None
        states = self._store.list_states(_list_owners(principal), self._clock.now())
        if not states:
            return None
        hold = Hold(principal.tenant, tuple(map(self._estimate, requests)), tuple(states))
        if hold.find_exceeded() is not None:
            raise self._refuse(hold, requests[0].correlation_id)
        return hold

    def check_each(
        self, requests: Sequence[JobRequest], principal: Principal
    ) -> tuple[Hold | None, dict[int, ApiError]]:
        """Return what those requests will reserve that fit, in their order, and the refusals of the others.

        The hold is None without a budget, or if none of the requests fits.
        """
        states = self._store.list_states(_list_owners(principal), self._clock.now())
        if not states:
            return None, {}
        taken: list[int] = []
        refusals: dict[int, ApiError] = {}
        for index, amount in enumerate(map(self._estimate, requests)):
            after = Hold(principal.tenant, (amount,), _add(states, sum(taken)))
            if after.find_exceeded() is None:
                taken.append(amount)
            else:
                refusals[index] = _build_refusal(after)
        if refusals:
            self._alerts.publish(states, correlation_id=requests[0].correlation_id, is_exceeded=True)
        return Hold(principal.tenant, tuple(taken), tuple(states)) if taken else None, refusals

    def create(self, jobs: Sequence[Job], hold: Hold, *, batch: Batch | None = None) -> Hold:
        """Write the jobs with their reservations, and return the hold with the windows after it.

        Raises a 402 ApiError if others have used the budget up meanwhile, and what `BudgetedJobs` raises.
        """
        for attempt in range(_MAX_ATTEMPTS):
            try:
                self._store.create(_reserve(jobs, hold), hold, batch=batch)
            except BudgetContentionError:
                backoff = min(_FIRST_BACKOFF_SECONDS * 2**attempt, _MAX_BACKOFF_SECONDS)
                self._sleep(backoff * self._random_fraction())
            except BudgetExceededError:
                # It may fit by now: a window has begun, a prediction has ended, or a limit was raised.
                hold = self._read_again(hold)
                if hold.find_exceeded() is not None:
                    raise self._refuse(hold, jobs[0].correlation_id) from None
            else:
                hold = _add_reservation(hold)
                self._alerts.publish(hold.states, correlation_id=jobs[0].correlation_id, is_exceeded=False)
                return hold
        raise NotWrittenError("too many requests at once reserve from this budget", retry_after=1)

    def _refuse(self, hold: Hold, correlation_id: str) -> ApiError:
        self._alerts.publish(hold.states, correlation_id=correlation_id, is_exceeded=True)
        return _build_refusal(hold)

    def _read_again(self, hold: Hold) -> Hold:
        owners = list(dict.fromkeys(state.window.owner for state in hold.states))
        states = self._store.list_states(owners, self._clock.now())
        if not states:
            raise NotWrittenError("the budget was deleted meanwhile", retry_after=1)
        return replace(hold, states=tuple(states))


def _reserve(jobs: Sequence[Job], hold: Hold) -> list[Job]:
    """Return the jobs with what each of them reserves."""
    windows = tuple(state.window.name for state in hold.states)
    return [
        replace(job, reservation=Reservation(amount, windows))
        for job, amount in zip(jobs, hold.amounts, strict=True)
    ]


def build_budget_view(hold: Hold) -> dict[str, Any]:
    """Return what the reply to a create says: the reservation, and the window that has the least left."""
    state = hold.find_tightest()
    return {"reserved_usd": format_usd(hold.total_micro_usd), **build_state_view(state)}


def build_state_view(state: BudgetState) -> dict[str, Any]:
    return {
        "scope": "tenant" if state.window.owner.key_id is None else "key",
        "period": state.window.period.value,
        "limit_usd": format_usd(state.limit_micro_usd),
        "committed_usd": format_usd(state.committed_micro_usd),
        "spent_usd": format_usd(state.spent_micro_usd),
        "left_usd": format_usd(state.left_micro_usd),
        "resets_at": format_timestamp(state.window.resets_at),
    }


def _list_owners(principal: Principal) -> list[BudgetOwner]:
    return [BudgetOwner(principal.tenant), BudgetOwner(principal.tenant, principal.key_id)]


def _add_reservation(hold: Hold) -> Hold:
    """Return the hold with its windows after the reservation; warn about those that are nearly used up."""
    states = _add(hold.states, hold.total_micro_usd)
    for state in states:
        if state.is_used_to(_WARNING_PERCENTAGE):
            count(Metric.BUDGET_NEARLY_USED)
            logger.warning("budget nearly used up", **_describe(state))
    return replace(hold, states=states)


def _add(states: Sequence[BudgetState], amount: int) -> tuple[BudgetState, ...]:
    return tuple(replace(state, committed_micro_usd=state.committed_micro_usd + amount) for state in states)


def _build_refusal(hold: Hold) -> ApiError:
    state = hold.find_tightest()
    count(Metric.BUDGET_EXCEEDED)
    logger.warning("budget exceeded", **_describe(state))
    period = "daily" if state.window.period == "day" else "monthly"
    detail = (
        f"The {period} budget of {state.window.owner.name} has ${format_usd(state.left_micro_usd)} of "
        f"${format_usd(state.limit_micro_usd)} left, and this request reserves up to "
        f"${format_usd(hold.total_micro_usd)}. It resets at {format_timestamp(state.window.resets_at)}"
    )
    return ApiError(402, "Budget exceeded", detail, extensions={"budget": build_budget_view(hold)})


def _describe(state: BudgetState) -> dict[str, Any]:
    window = state.window
    return {
        "tenant": window.owner.tenant,
        "budget_key_id": window.owner.key_id,
        "period": window.period.value,
        "left_usd": format_usd(state.left_micro_usd),
        "limit_usd": format_usd(state.limit_micro_usd),
    }
