"""The prices that the project ships."""

from __future__ import annotations

from datetime import date
from urllib.parse import urlsplit

import pytest

from replicate_proxy.costs.prices import BillingUnit, PriceBook
from replicate_proxy.costs.shipped_prices import load_price_book

BOOK = load_price_book()


@pytest.mark.parametrize("name", BOOK.prices)
def test_shipped_price_has_amount_source_and_date(name: str) -> None:
    price = BOOK.prices[name]

    assert all(amount > 0 for amount in price.amounts.values())
    assert price.amounts
    assert urlsplit(price.source).hostname == "replicate.com"
    assert date.fromisoformat(price.as_of) <= date.today()  # noqa: DTZ011 - a page's date has no zone
    assert name.count("/") == 1


def test_hardware_stands_for_its_price_per_second() -> None:
    hardware = {
        "source": "https://replicate.com/pricing",
        "as_of": "2026-07-26",
        "per_second": {"cpu": "0.0001"},
    }
    book = PriceBook.parse({"hardware": hardware, "models": {"acme/model": {"hardware": "cpu"}}})

    price = book.prices["acme/model"]

    assert str(price.amounts[BillingUnit.SECOND]) == "0.0001"
    assert (price.source, price.as_of) == ("https://replicate.com/pricing", "2026-07-26")


def test_unknown_model_has_no_price() -> None:
    assert BOOK.find_price("acme/model") is None
