"""The plot of docs/images.md: bytes against SSIMULACRA2 for each encoder."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import matplotlib as mpl

from tools.bench.images_corpus import PHOTOGRAPH
from tools.bench.images_scoring import encode_png

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tools.bench.images_corpus import Picture
    from tools.bench.images_curves import Point


PLOT = Path(__file__).resolve().parents[2] / "docs" / "images" / "size-against-score.svg"


def write_plot(pictures: Sequence[Picture], curves: Mapping[str, Mapping[str, Sequence[Point]]]) -> None:
    """Write means over the photographs, and over the generated pictures that every encoder can hold."""
    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "replicate-proxy"
    from matplotlib import pyplot as plt  # noqa: PLC0415 - after the backend was chosen

    opaque = [picture for picture in pictures if picture.image.mode != "RGBA"]
    groups = {
        "photographs": [picture for picture in opaque if picture.kind == PHOTOGRAPH],
        "generated pictures": [picture for picture in opaque if picture.kind != PHOTOGRAPH],
    }
    figure, panels = plt.subplots(1, 2, figsize=(11, 5), sharey=True)
    for (title, members), axes in zip(groups.items(), panels, strict=True):
        png_bytes = sum(len(encode_png(picture.image)) for picture in members)
        for tool, by_picture in curves.items():
            columns = list(zip(*(by_picture[picture.name] for picture in members), strict=True))
            x = [100 * sum(point.bytes for point in column) / png_bytes for column in columns]
            y = [fmean(point.score.ssimulacra2 for point in column) for column in columns]
            (line,) = axes.plot(x, y, marker="o", ms=4, label=tool)
            for column, position in zip(columns, zip(x, y, strict=True), strict=True):
                text = str(column[0].quality)
                axes.annotate(text, position, fontsize=7, color=line.get_color(), va="bottom")
        axes.set(xlabel="bytes, % of the PNGs", title=title, xscale="log", ylim=(40, 95))
        axes.xaxis.set_major_formatter("{x:.0f}")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("mean SSIMULACRA2")
    panels[1].legend(loc="lower right", fontsize=8, frameon=False)
    PLOT.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PLOT, metadata={"Date": None}, bbox_inches="tight")
    print(f"wrote {PLOT.name}")
