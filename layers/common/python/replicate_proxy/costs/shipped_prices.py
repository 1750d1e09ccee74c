"""The prices that the project ships."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from replicate_proxy.costs.prices import PriceBook

if TYPE_CHECKING:
    from collections.abc import Mapping


@cache
def load_price_book() -> PriceBook:
    """Return the prices of models."""
    return PriceBook.parse(_load_document())


def load_hardware_prices() -> Mapping[str, Any]:
    """Return what hardware costs: `per_second` by name, `source` and `as_of`."""
    prices: Mapping[str, Any] = _load_document()["hardware"]
    return prices


@cache
def _load_document() -> Mapping[str, Any]:
    text = files("replicate_proxy.costs").joinpath("prices.json").read_text(encoding="utf-8")
    document: Mapping[str, Any] = json.loads(text)
    return document
