"""The most that a create request may cost, by the price of its model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from replicate_proxy.costs.money import parse_usd
from replicate_proxy.costs.prices import Price
from replicate_proxy.costs.worst_case import calculate_worst_case
from replicate_proxy.jobs.model import SubmissionKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicate_proxy.costs.prices import PriceBook
    from replicate_proxy.jobs.model import Submission
    from replicate_proxy.services.ingest import JobRequest


@dataclass(frozen=True, slots=True)
class CostBounds:
    """Bounds the cost of requests; `ceiling_micro_usd` stands where neither price nor entry gives a bound."""

    prices: PriceBook
    ceiling_micro_usd: int

    def estimate(self, request: JobRequest) -> int:
        """Return the most that the request may cost, in millionths of a US dollar.

        That is the most that its target or one of the fallbacks may cost: an attempt that fails is free. With
        a limit on the queue time, all may cost something: one may start to run while it is being canceled.
        """
        entry = request.applied_entry
        ceiling = (
            self.ceiling_micro_usd if entry.cost_ceiling_usd is None else parse_usd(entry.cost_ceiling_usd)
        )
        model_input = entry.build_input(request.input)
        submission = entry.build_submission(request.submission)
        name = request.model if submission == request.submission else submission.model_name
        bounds = [self._estimate(submission, name or "", entry.price, model_input)]
        for fallback in (target.to_fallback() for target in entry.fallbacks):
            renamed = {fallback.fields.get(field) or field: value for field, value in model_input.items()}
            name = fallback.submission.model_name
            bounds.append(
                self._estimate(fallback.submission, name, fallback.price, {**model_input, **renamed})
            )
        amounts = [ceiling if bound is None else bound for bound in bounds]
        return max(amounts) if entry.fallback_after_seconds is None else sum(amounts)

    def _estimate(
        self,
        submission: Submission,
        name: str,
        record: Mapping[str, str] | None,
        model_input: Mapping[str, Any],
    ) -> int | None:
        if submission.kind is SubmissionKind.DEPLOYMENT:
            return None
        price = Price.parse(record) if record is not None else self.prices.find_price(name)
        return calculate_worst_case(price, model_input) if price else None
