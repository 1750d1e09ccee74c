"""The most that a create request may cost, by the price of its model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicate_proxy.costs.prices import Price
from replicate_proxy.costs.worst_case import calculate_worst_case
from replicate_proxy.jobs.model import SubmissionKind
from replicate_proxy.model_entries.entry import ModelEntry

if TYPE_CHECKING:
    from replicate_proxy.costs.prices import PriceBook
    from replicate_proxy.services.ingest import JobRequest


@dataclass(frozen=True, slots=True)
class CostBounds:
    """Bounds the cost of requests; `ceiling_micro_usd` stands where no bound is known."""

    prices: PriceBook
    ceiling_micro_usd: int

    def estimate(self, request: JobRequest) -> int:
        """Return the most that the request may cost, in millionths of a US dollar."""
        entry = request.entry or ModelEntry(name=request.model or "")
        submission = entry.build_submission(request.submission)
        if submission.kind is SubmissionKind.DEPLOYMENT:
            return self.ceiling_micro_usd
        name = submission.model_name or request.model or ""
        price = Price.parse(entry.price) if entry.price is not None else self.prices.find_price(name)
        bound = calculate_worst_case(price, entry.build_input(request.input)) if price else None
        return self.ceiling_micro_usd if bound is None else bound
