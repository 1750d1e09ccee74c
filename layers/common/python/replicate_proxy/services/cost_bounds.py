"""The most that a create request may cost, by the price of its model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from replicate_proxy.costs.money import parse_usd
from replicate_proxy.costs.prices import BillingUnit, Price
from replicate_proxy.costs.worst_case import calculate_worst_case, has_duration
from replicate_proxy.jobs.model import SubmissionKind
from replicate_proxy.replicate_api.known_models import name_target
from replicate_proxy.services.sent_input import rename_fields

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from replicate_proxy.costs.prices import PriceBook
    from replicate_proxy.jobs.model import Submission
    from replicate_proxy.services.ingest import JobRequest


@dataclass(frozen=True, slots=True)
class CostBounds:
    """Bounds the cost of requests; `ceiling_micro_usd` stands where neither price nor entry gives a bound.

    `find_fields` returns the input fields of a model by its target, none where they are not known.
    """

    prices: PriceBook
    ceiling_micro_usd: int
    find_fields: Callable[[str], Collection[str]] = lambda _target: ()

    def estimate(self, request: JobRequest) -> int:
        """Return the most that the request may cost, in millionths of a US dollar.

        That is the most that its target or one of the fallbacks may cost: an attempt that fails is free. With
        a limit on the queue time, all may cost something: one may start to run while it is being canceled.
        """
        entry = request.applied_entry
        model_input = entry.build_input(request.input)
        submission = entry.build_submission(request.submission)
        name = request.model if submission == request.submission else submission.model_name
        price = self._find_price(submission, name or "", entry.price)
        amounts = [self._estimate(request, submission, price, model_input)]
        for fallback in (target.to_fallback() for target in entry.fallbacks):
            price = self._find_price(fallback.submission, fallback.submission.model_name, fallback.price)
            sent = rename_fields(model_input, fallback.fields)
            amounts.append(self._estimate(request, fallback.submission, price, sent))
        return max(amounts) if entry.fallback_after_seconds is None else sum(amounts)

    def _find_price(
        self, submission: Submission, name: str, record: Mapping[str, str] | None
    ) -> Price | None:
        if submission.kind is SubmissionKind.DEPLOYMENT:
            return None
        return Price.parse(record) if record is not None else self.prices.find_price(name)

    def _estimate(
        self,
        request: JobRequest,
        submission: Submission,
        price: Price | None,
        model_input: Mapping[str, Any],
    ) -> int:
        """Return the bound, and at least the ceiling if the model may ignore the field that it rests on."""
        entry = request.applied_entry
        ceiling = (
            self.ceiling_micro_usd if entry.cost_ceiling_usd is None else parse_usd(entry.cost_ceiling_usd)
        )
        bound = calculate_worst_case(price, model_input) if price is not None else None
        if price is None or bound is None:
            return ceiling
        if BillingUnit.OUTPUT_SECOND not in price.amounts:
            return bound
        fields = self.find_fields(request.account.qualify(name_target(submission)))
        return bound if has_duration(model_input, fields) else max(bound, ceiling)
