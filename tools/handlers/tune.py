"""Find the memory at which each function is worth its price: `make tune`.

Each handler is started, as built, under the quota of a processor that its memory would have on Lambda, and
handles prepared sample events against a local stack, which answers its calls of AWS. The stack is not
limited, as the services of AWS do not share the processor of a function. A process pays for its import and
its first event as a cold start does, which a small share of invocations has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tools.bench.costs import PRICES
from tools.handlers.measurements import SizeMeasurement, store_measurements
from tools.handlers.quota import limit_processor
from tools.handlers.stack import run_lab
from tools.local.invoke.samples import MAIN_SAMPLES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tools.handlers.process import HandlerLab

# 128 MB would leave too little beside the runtime, which the measured process lacks.
SIZES_MB = (256, 512, 1024, 1769)
EVENTS = 9
# Cold starts are under 1 % of invocations (AWS Compute Blog, "Operating Lambda: Performance optimization").
COLD_SHARE = 0.01
# No caller waits for these: the cheapest size is the best.
_BACKGROUND = frozenset({"batch", "sweep", "usage"})
# What samples do not show: large images need 400 MB and the time of a processor (docs/images.md), and large
# batches and deletions go as fast as the processor lets them (docs/costs.md, Deletion).
_MIN_MB = {"harvest": 1769, "batch": 512, "sweep": 512}
# Of the memory, the part that a function may have used in the end, beside the runtime.
_MAX_USED_SHARE = 0.7


@dataclass(frozen=True, slots=True)
class Measurement:
    """A function at one size. Times are in seconds; `price` is for a million invocations, in dollars."""

    size_mb: int
    warm_seconds: float
    cold_seconds: float
    used_mb: float

    @property
    def mean_seconds(self) -> float:
        return (1 - COLD_SHARE) * self.warm_seconds + COLD_SHARE * self.cold_seconds

    @property
    def price(self) -> float:
        # The import is paid, too (AWS Lambda pricing).
        gb_seconds = self.mean_seconds * self.size_mb / 1024
        return 1e6 * (gb_seconds * PRICES["gb_second"] + PRICES["lambda"])


def choose_best(function: str, measurements: Sequence[Measurement]) -> Measurement:
    """Return the cheapest size, or for functions that a caller waits for the one with the best balance.

    The balance is that of AWS Lambda Power Tuning (`strategy: balanced`): time and price count the same, each
    compared with its greatest value. Sizes that the function might outgrow are left out.
    """
    candidates = [
        entry
        for entry in measurements
        if entry.used_mb <= entry.size_mb * _MAX_USED_SHARE and entry.size_mb >= _MIN_MB.get(function, 0)
    ]
    if function in _BACKGROUND:
        return min(candidates, key=lambda entry: entry.price)
    max_seconds = max(entry.mean_seconds for entry in candidates)
    max_price = max(entry.price for entry in candidates)
    return min(candidates, key=lambda entry: entry.mean_seconds / max_seconds + entry.price / max_price)


def measure(lab: HandlerLab, function: str) -> list[Measurement]:
    """Return a measurement for each size, the largest first."""
    return [_measure_size(lab, function, size) for size in reversed(SIZES_MB)]


def _measure_size(lab: HandlerLab, function: str, size_mb: int) -> Measurement:
    run = lab.run(f"{function}/{MAIN_SAMPLES[function]}", EVENTS, limit=limit_processor(size_mb))
    return Measurement(
        size_mb=size_mb,
        warm_seconds=run.median("seconds"),
        cold_seconds=run.init_seconds + run.invocations[0].seconds,
        used_mb=run.memory_mb,
    )


def main(functions: Sequence[str]) -> int:
    """Measure the functions, print and store time and price for each size, and name the best one."""
    with run_lab() as lab:
        for function in functions or MAIN_SAMPLES:
            measurements = measure(lab, function)
            best = choose_best(function, measurements)
            sizes = [_round(entry) for entry in measurements]
            store_measurements(function, best.size_mb, sizes)
            for size in sizes:
                print(
                    f"{function:10} {size.size_mb:5} MB  warm {size.warm_ms:6g} ms  cold {size.cold_ms:5g} ms"
                    f"  used {size.used_mb:4g} MB  ${size.price:.2f} a million",
                    flush=True,
                )
            print(f"{function:10} {best.size_mb:5} MB  is the best", flush=True)
    return 0


def _round(entry: Measurement) -> SizeMeasurement:
    return SizeMeasurement(
        size_mb=entry.size_mb,
        warm_ms=round(entry.warm_seconds * 1000, 1),
        cold_ms=round(entry.cold_seconds * 1000),
        used_mb=round(entry.used_mb),
        price=round(entry.price, 2),
    )
