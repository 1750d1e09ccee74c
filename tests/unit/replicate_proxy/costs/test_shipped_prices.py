"""The prices that the project ships."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from urllib.parse import urlsplit

import pytest

from replicate_proxy.costs.shipped_prices import load_hardware_prices, load_price_book

BOOK = load_price_book()


@pytest.mark.parametrize("name", BOOK.prices)
def test_shipped_price_has_amount_source_and_date(name: str) -> None:
    price = BOOK.prices[name]

    assert all(amount > 0 for amount in price.amounts.values())
    assert price.amounts
    assert urlsplit(price.source).hostname == "replicate.com"
    assert date.fromisoformat(price.as_of) <= date.today()  # noqa: DTZ011 - a page's date has no zone
    assert name.count("/") == 1


def test_shipped_hardware_has_price_source_and_date() -> None:
    hardware = load_hardware_prices()

    assert all(Decimal(price) > 0 for price in hardware["per_second"].values())
    assert urlsplit(hardware["source"]).hostname == "replicate.com"
    assert date.fromisoformat(hardware["as_of"]) <= date.today()  # noqa: DTZ011 - a page's date has no zone


def test_unknown_model_has_no_price() -> None:
    assert BOOK.find_price("acme/model") is None
