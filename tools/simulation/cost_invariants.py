"""What Replicate bills in a run, by rules of its own, and whether the costs of the jobs add up to that."""

from __future__ import annotations

from collections import Counter
from dataclasses import astuple, dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from replicate_proxy.costs.prices import PriceBook
from tools.simulation.observation import read_items
from tools.simulation.resources import Table

if TYPE_CHECKING:
    from replicate_proxy.jobs.model import Job
    from tools.simulation.invariants import Invariants, JobKey
    from tools.simulation.replicate import Prediction
    from tools.simulation.world import World

# Millionths of a US dollar for each second; what falls back to another model is billed by that.
_RATES = {"acme/model": 975, "acme/second": 1400, "acme/third": 225}
PRICES = PriceBook.parse(
    {
        "models": {
            model: {
                "per_second": str(Decimal(rate) / 1_000_000),
                "source": "https://replicate.test/pricing",
                "as_of": "2026-01-01",
            }
            for model, rate in _RATES.items()
        }
    }
)
"""The prices that the pipeline knows in a run."""


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """The invoice beside what the pipeline has counted; amounts in millionths of a US dollar.

    `billed` is for `jobs` whose cost is known, and `costs` the sum of these; estimates and unknown costs are
    apart, since Replicate may have billed more for these. `usage` is the sum of the usage records, which must
    be `costs` with `estimated`.
    """

    jobs: int = 0
    billed: int = 0
    costs: int = 0
    estimates: int = 0
    estimated: int = 0
    unknown: int = 0
    billed_otherwise: int = 0
    usage: int = 0

    def __add__(self, other: Reconciliation) -> Reconciliation:
        return Reconciliation(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


class CostInvariants:
    """Compares the cost of each job with the invoice for the predictions that it holds."""

    def __init__(self, world: World, invariants: Invariants) -> None:
        self.reconciliation = Reconciliation()
        self._world = world
        self._invariants = invariants
        invariants.at_rest.append(self._check)

    def _check(self) -> None:
        invoice: Counter[JobKey] = Counter()
        for prediction in self._world.replicate.predictions.values():
            invoice[self._invariants.find_recipient(prediction)] += calculate_charge(prediction)
        for job in self._world.truth.read_jobs():
            if job.is_terminal:
                self._check_job(job, invoice[job.tenant, job.id])
                self.reconciliation += _reconcile(job, invoice[job.tenant, job.id])
        # Those of large batches are counted once more for each batch.
        entries = (record for record in read_items(self._world.aws, Table.USAGE) if "model" in record)
        usage = sum(record.get("cost_micro_usd", 0) for record in entries)
        self.reconciliation += Reconciliation(usage=usage)

    def _check_job(self, job: Job, billed: int) -> None:
        """An exact cost is what was billed, and an estimate is no more than that."""
        cost = job.cost
        if cost is None or (cost.micro_usd is None and not cost.reason):
            self._invariants.report("every cost is known or has a reason", f"{job.tenant} {job.id}")
        elif cost.micro_usd is not None and (
            cost.micro_usd > billed if cost.is_estimated else cost.micro_usd != billed
        ):
            detail = f"{job.tenant} {job.id} {job.status}: {cost.basis} is {cost.micro_usd}, billed {billed}"
            self._invariants.report("money is exact", detail)


def _reconcile(job: Job, billed: int) -> Reconciliation:
    cost = job.cost
    if cost is None or cost.micro_usd is None:
        return Reconciliation(unknown=1, billed_otherwise=billed)
    if cost.is_estimated:
        return Reconciliation(estimates=1, estimated=cost.micro_usd, billed_otherwise=billed)
    return Reconciliation(jobs=1, billed=billed, costs=cost.micro_usd)


def calculate_charge(prediction: Prediction) -> int:
    """Return what Replicate bills for a prediction, in millionths of a US dollar, rounded half up."""
    if prediction.status not in {"succeeded", "canceled"}:
        return 0
    microseconds = round(prediction.run_seconds * 1_000_000)
    return (microseconds * _RATES[prediction.body["model"]] + 500_000) // 1_000_000
