"""The prices that the project ships."""

from __future__ import annotations

import json
from importlib.resources import files

from replicate_proxy.costs.prices import PriceBook


def load_price_book() -> PriceBook:
    """Return the prices of `prices.json`."""
    text = files("replicate_proxy.costs").joinpath("prices.json").read_text(encoding="utf-8")
    return PriceBook.parse(json.loads(text))
