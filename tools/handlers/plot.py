"""Draw time and price by memory for each function that `make tune` has measured: tools/bench/tune.svg.

Runs in the environment of the measurements (requirements/bench.txt), which has matplotlib.
"""

from __future__ import annotations

import math
import sys

import matplotlib as mpl
from matplotlib import pyplot as plt

from tools.handlers.measurements import MEASUREMENTS_FILE, load_measurements

TARGET = MEASUREMENTS_FILE.with_suffix(".svg")
_COLUMNS = 4


def main() -> int:
    """Write the drawing."""
    functions = load_measurements()
    mpl.rcParams["svg.hashsalt"] = "tune"  # the same drawing for the same values
    rows = math.ceil(len(functions) / _COLUMNS)
    figure, axes = plt.subplots(rows, _COLUMNS, figsize=(4 * _COLUMNS, 3 * rows), squeeze=False)
    for axis in axes.flat[len(functions) :]:
        axis.axis("off")
    for axis, (function, measured) in zip(axes.flat, functions.items(), strict=False):
        sizes = [entry.size_mb for entry in measured.sizes]
        axis.plot(sizes, [entry.warm_ms for entry in measured.sizes], "o-", color="tab:blue")
        axis.set_yscale("log")
        axis.set_title(f"{function}: {measured.best_mb} MB")
        axis.axvline(measured.best_mb, color="gray", linestyle=":")
        price_axis = axis.twinx()
        prices = [entry.price for entry in measured.sizes]
        price_axis.plot(sizes, prices, "s--", color="tab:red")
        price_axis.set_ylim(bottom=0)
    figure.supxlabel("memory, MB; blue: warm time, ms; red: price of a million invocations, $")
    figure.tight_layout()
    figure.savefig(TARGET, metadata={"Date": None})
    print(f"wrote {TARGET}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
