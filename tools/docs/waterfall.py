"""The waterfall of one job as a picture, with the geometry of the console's."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from replicate_proxy.console.formatting import format_duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from replicate_proxy.console.charts import Hop

_WIDTH, _LEFT, _RIGHT = 860, 200, 80
_TOP, _ROW_HEIGHT, _BOTTOM = 48, 26, 36
_MIN_TICKS = 4
_DELIVERY_KINDS = frozenset({"delivery", "failed"})
_PERCENT = 100


def describe_hops(title: str, hops: Sequence[Hop]) -> dict[str, Any]:
    """Return the hops as JSON, with places and widths in percent of the drawing, as the console has them."""
    return {
        "title": title,
        "hops": [
            {
                "label": hop.label,
                "seconds": round(hop.seconds, 4),
                "x": hop.x,
                "width": hop.width,
                "kind": hop.kind,
            }
            for hop in hops
        ],
    }


def render_waterfall(picture: Mapping[str, Any]) -> str:
    """Return the SVG of hops as `describe_hops` returns them."""
    hops = picture["hops"]
    height = _TOP + _ROW_HEIGHT * len(hops) + _BOTTOM
    bars = [
        {
            "label": hop["label"],
            "kind": hop["kind"],
            "value": format_duration(hop["seconds"]),
            "x": _place(hop["x"]),
            "width": round(hop["width"] / _PERCENT * _get_chart_width(), 2),
            "y": _TOP + _ROW_HEIGHT * index,
        }
        for index, hop in enumerate(hops)
    ]
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("waterfall.svg.jinja")
    values = {"title": picture["title"], "width": _WIDTH, "height": height}
    return template.render(**values, bars=bars, ticks=list(_list_ticks(hops))) + "\n"


def _list_ticks(hops: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield round times. The widest hop of the job itself says what a percent is: webhooks may be cut."""
    own = [hop for hop in hops if hop["kind"] not in _DELIVERY_KINDS]
    widest = max(own, key=lambda hop: hop["width"])
    seconds = _PERCENT * widest["seconds"] / widest["width"]
    step = 10 ** math.floor(math.log10(seconds / _MIN_TICKS))
    step = max(step * factor for factor in (1, 2, 5) if step * factor <= seconds / _MIN_TICKS)
    for number in range(int(seconds / step) + 1):
        time = number * step
        yield {"x": _place(_PERCENT * time / seconds), "text": format_duration(time) if time else "0"}


def _place(percent: float) -> float:
    return round(_LEFT + percent / _PERCENT * _get_chart_width(), 2)


def _get_chart_width() -> int:
    return _WIDTH - _LEFT - _RIGHT
