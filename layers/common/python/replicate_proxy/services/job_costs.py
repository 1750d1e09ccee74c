"""What jobs cost, by the prices that are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicate_proxy.costs.calculate import calculate_cost
from replicate_proxy.costs.prices import Price

if TYPE_CHECKING:
    from replicate_proxy.costs.prices import PriceBook
    from replicate_proxy.jobs.model import Cost, Job, JobStatus


@dataclass(frozen=True, slots=True)
class JobCosts:
    """Calculates the costs of jobs by the price of the model's entry, or else by the name of the model."""

    prices: PriceBook

    def calculate(self, job: Job, ended_from: JobStatus) -> Cost:
        """Return the cost of a job that has just ended, from the status before."""
        if job.price is not None:
            price: Price | None = Price.parse(job.price)
        else:
            price = self.prices.find_price(job.model or job.submission.model_name)
        return calculate_cost(job, price, ended_from=ended_from)
