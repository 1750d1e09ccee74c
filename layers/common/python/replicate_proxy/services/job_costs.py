"""What jobs cost, by the prices that are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicate_proxy.costs.calculate import calculate_cost

if TYPE_CHECKING:
    from replicate_proxy.costs.prices import PriceBook
    from replicate_proxy.jobs.model import Cost, Job, JobStatus


@dataclass(frozen=True, slots=True)
class JobCosts:
    """Calculates the costs of jobs; the name of its model decides about the price of a job."""

    prices: PriceBook

    def calculate(self, job: Job, ended_from: JobStatus) -> Cost:
        """Return the cost of a job that has just ended, from the status before."""
        price = self.prices.find_price(job.model or job.submission.model_name)
        return calculate_cost(job, price, ended_from=ended_from)
