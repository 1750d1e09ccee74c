"""Write the plots of docs/performance.md from the stored run of the benchmarks.

.venvs/bench/bin/python -m tools.docs.plots, which has matplotlib; `make bench-docs` runs it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import matplotlib as mpl

from tools.bench.stored_run import StoredRun
from tools.docs.plot_data import GROWTH_PLOT, LATENCY_PLOT, describe_data, find_plots

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

mpl.use("svg")
# The same data give the same file: no random IDs, no date.
mpl.rcParams["svg.hashsalt"] = "replicate-proxy"
mpl.rcParams["svg.fonttype"] = "none"  # texts as texts, a third of the bytes of outlines
from matplotlib import pyplot as plt  # noqa: E402 - after the backend was chosen


def main() -> int:
    """Write each plot for which there are results."""
    for path, data in find_plots(StoredRun.load()).items():
        figure = _PLOTS[path](data)
        metadata = {"Date": None, "Description": describe_data(data)}
        figure.savefig(path, metadata=metadata, bbox_inches="tight")
        sys.stdout.write(f"wrote {path.name}\n")
    return 0


def plot_latencies(latencies: Mapping[str, list[float]]) -> Any:
    """Plot which share of the samples is at most how slow."""
    figure, axes = plt.subplots(figsize=(8, 4))
    for text, values in latencies.items():
        shares = [100 * (index + 1) / len(values) for index in range(len(values))]
        axes.step(values, shares, where="post", label=f"{text} ({len(values)} samples)")
    # Linear below 10 ms: clocks of processes differ, and a first attempt may seem to precede its event.
    axes.set_xscale("symlog", linthresh=10)
    axes.set(xlabel="milliseconds", ylabel="% of jobs", ylim=(0, 101))
    axes.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axes.grid(visible=True, which="major", lw=0.4)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), fontsize=8, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def plot_growth(growth: Mapping[str, Mapping[str, Mapping[int, float]]]) -> Any:
    """Plot AWS requests and read units of each operation over the stored predictions."""
    counts = {"requests": "requests to AWS", "reads": "read units"}
    figure, all_axes = plt.subplots(1, len(counts), figsize=(8, 4.2))
    for axes, (count, text) in zip(all_axes, counts.items(), strict=True):
        for index, (operation, values) in enumerate(growth.items()):
            points = sorted(values.get(count, {}).items())
            style = "-" if index < _COLORS else "--"
            axes.plot(*zip(*points, strict=True), style, marker="o", ms=3, lw=1, label=operation)
        axes.set(xscale="log", yscale="symlog", ylim=(0, None), xlabel="stored predictions", title=text)
        axes.yaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
        axes.spines[["top", "right"]].set_visible(False)
    handles, labels = all_axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="center left", bbox_to_anchor=(0.92, 0.5), fontsize=8, frameon=False)
    return figure


_COLORS = 10  # of matplotlib's cycle; more operations get another style
_PLOTS: Mapping[Path, Callable[[Any], Any]] = {LATENCY_PLOT: plot_latencies, GROWTH_PLOT: plot_growth}

if __name__ == "__main__":
    sys.exit(main())
