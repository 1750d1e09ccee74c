"""Draw time and price by memory for each function that `make tune` has measured: tools/bench/tune.svg.

Runs in the environment of the measurements (requirements/bench.txt), which has matplotlib.
"""

from __future__ import annotations

import json
import math
import sys
from collections import defaultdict
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt

RESULTS_FILE = Path(__file__).parents[1] / "bench/results.json"
TARGET = RESULTS_FILE.with_name("tune.svg")
_COLUMNS = 4


def main() -> int:
    """Write the drawing."""
    values: dict[str, dict[int, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    best: dict[str, int] = {}
    for result in json.loads(RESULTS_FILE.read_text(encoding="utf-8"))["results"]:
        match result["name"].split("."):
            case ["tune", function, "best"]:
                best[function] = int(result["value"])
            case ["tune", function, size, kind]:
                values[function][int(size)][kind] = result["value"]
    mpl.rcParams["svg.hashsalt"] = "tune"  # the same drawing for the same values
    rows = math.ceil(len(values) / _COLUMNS)
    figure, axes = plt.subplots(rows, _COLUMNS, figsize=(4 * _COLUMNS, 3 * rows), squeeze=False)
    for axis in axes.flat[len(values) :]:
        axis.axis("off")
    for axis, (function, by_size) in zip(axes.flat, sorted(values.items()), strict=False):
        sizes = sorted(by_size)
        axis.plot(sizes, [by_size[size]["warm"] for size in sizes], "o-", color="tab:blue")
        axis.set_yscale("log")
        axis.set_title(f"{function}: {best[function]} MB")
        axis.axvline(best[function], color="gray", linestyle=":")
        price_axis = axis.twinx()
        prices = [by_size[size]["price"] for size in sizes]
        price_axis.plot(sizes, prices, "s--", color="tab:red")
        price_axis.set_ylim(bottom=0)
    figure.supxlabel("memory, MB; blue: warm time, ms; red: price of a million invocations, $")
    figure.tight_layout()
    figure.savefig(TARGET, metadata={"Date": None})
    print(f"wrote {TARGET}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
