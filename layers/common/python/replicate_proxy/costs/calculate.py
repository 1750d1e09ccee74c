"""What a job cost, by Replicate's rules. No I/O.

Public models cost the time in which they run, official ones what they put out; a prediction that failed or
never ran costs nothing, and one that was canceled costs the time until then (Replicate docs, "Billing").
Private models and deployments cost the time in which their instances are online, whether or not they run
anything: a prediction does not show that.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from replicate_proxy.costs.money import MICRO_PER_USD
from replicate_proxy.costs.prices import BillingUnit
from replicate_proxy.jobs.model import AttemptOutcome, Cost, JobStatus, SubmissionKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicate_proxy.costs.prices import Price
    from replicate_proxy.jobs.model import Job, PastAttempt

# The metrics in which Replicate reports what it bills (https://replicate.com/docs, predictions of each kind).
_METRICS: Mapping[BillingUnit, str] = {
    BillingUnit.SECOND: "predict_time",
    BillingUnit.IMAGE: "image_count",
    BillingUnit.INPUT_TOKEN: "input_token_count",
    BillingUnit.OUTPUT_TOKEN: "output_token_count",
    BillingUnit.OUTPUT_SECOND: "video_output_duration_seconds",
}
# No prediction costs that much. What is reported is wrong then, and may be too large a number to be saved.
_MAX_USD = 1_000_000
# Failed predictions of public models are free, and an aborted one never ran.
_FREE_OUTCOMES = frozenset({AttemptOutcome.FAILED, AttemptOutcome.REJECTED, AttemptOutcome.NOT_SENT})
_FREE_STATUSES: Mapping[str, str] = {
    "failed": "failed predictions are free",
    "aborted": "the prediction never started",
}


def calculate_cost(job: Job, price: Price | None, *, ended_from: JobStatus) -> Cost:
    """Return the cost of a job that has just ended, from the status before; or why it is not known.

    Attempts that were canceled for a fallback add what they cost. It is an estimate where an attempt has an
    outcome that is not known, since its prediction may exist, or a cost that is not known.
    """
    if job.replicate_id is None and ended_from is JobStatus.SUBMIT_UNKNOWN:
        return Cost(reason="it is not known whether Replicate created a prediction")
    cost = _calculate_last_attempt(job, price)
    if cost.micro_usd is None:
        return cost
    for past in job.past_attempts:
        if past.cost is not None and past.cost.micro_usd is not None:
            cost = _add(cost, past.cost.micro_usd, past.cost)
    uncertain = [past for past in job.past_attempts if not _has_known_cost(past)]
    if not uncertain:
        return cost
    left_out = "an attempt" if len(uncertain) == 1 else f"{len(uncertain)} attempts"
    is_canceled = any(past.outcome is AttemptOutcome.CANCELED for past in uncertain)
    unknown = "cost" if is_canceled else "outcome"
    return replace(cost, is_estimated=True, basis=f"{cost.basis}, without {left_out} of unknown {unknown}")


def _has_known_cost(past: PastAttempt) -> bool:
    if past.cost is not None:
        return past.cost.micro_usd is not None
    return past.outcome in _FREE_OUTCOMES


def _add(cost: Cost, micro_usd: int, canceled: Cost) -> Cost:
    """Return the cost with that of an attempt that was canceled, if that cost something."""
    if not micro_usd:
        return cost
    return replace(
        cost,
        micro_usd=(cost.micro_usd or 0) + micro_usd,
        basis=f"{cost.basis} + {canceled.basis} until canceled",
        source=cost.source or canceled.source,
        as_of=cost.as_of or canceled.as_of,
    )


def _calculate_last_attempt(job: Job, price: Price | None) -> Cost:
    if job.replicate_id is None:
        return Cost(micro_usd=0, basis="no prediction was created")
    status = job.replicate_status or ""
    if status in _FREE_STATUSES:
        return Cost(micro_usd=0, basis=_FREE_STATUSES[status])
    if status == "succeeded":
        return _calculate_succeeded(job, price)
    if status == "canceled":
        return _calculate_canceled(job, price)
    return Cost(reason="Replicate has not reported how the prediction ended")


def _calculate_succeeded(job: Job, price: Price | None) -> Cost:
    if job.submission.kind is SubmissionKind.DEPLOYMENT:
        return Cost(reason="a deployment costs the time in which its instances are online")
    if price is None:
        return Cost(reason=f"no price is known for {job.model or job.submission.model_name or 'the model'}")
    return _sum_up(price, job.metrics)


def _calculate_canceled(job: Job, price: Price | None) -> Cost:
    if "predict_time" not in job.metrics and job.started_at is None:
        return Cost(micro_usd=0, basis="canceled before it started")
    if price is not None and set(price.amounts) != {BillingUnit.SECOND}:
        return Cost(reason="Replicate does not say what a canceled prediction with a price by output costs")
    return _calculate_succeeded(job, price)


def _sum_up(price: Price, metrics: Mapping[str, Any]) -> Cost:
    """Return the sum over all units that are billed, rounded once."""
    total = Decimal(0)
    parts = []
    for unit, amount in price.amounts.items():
        quantity = Decimal(1) if unit is BillingUnit.RUN else _read_quantity(metrics, _METRICS[unit])
        if quantity is None:
            return Cost(reason=f"Replicate has not reported {_METRICS[unit]}")
        total += quantity * amount
        parts.append(f"{quantity:f} {unit.replace('_', ' ')}{'' if quantity == 1 else 's'} × ${amount:f}")
    if total > _MAX_USD:
        return Cost(reason=f"what Replicate has reported would cost more than ${_MAX_USD:,}")
    micro_usd = int((total * MICRO_PER_USD).to_integral_value(ROUND_HALF_UP))
    return Cost(micro_usd=micro_usd, basis=" + ".join(parts), source=price.source, as_of=price.as_of)


def _read_quantity(metrics: Mapping[str, Any], name: str) -> Decimal | None:
    """Return a metric as an exact number, None if it is missing or no number of that kind."""
    value = metrics.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        quantity = Decimal(str(value))
    except InvalidOperation:
        return None
    return quantity if quantity.is_finite() and quantity >= 0 else None
