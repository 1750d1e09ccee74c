"""Prices of models at Replicate, as its pages state them.

Replicate's API tells no prices: they are kept here, each with its source and the day on which it was read.
Amounts are exact: Decimal US dollars for one unit.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


class BillingUnit(StrEnum):
    """What Replicate bills: time on hardware or, for official models, outputs (Replicate docs, "Billing")."""

    SECOND = "second"
    IMAGE = "image"
    RUN = "run"
    INPUT_TOKEN = "input_token"  # noqa: S105 - a unit, no secret
    OUTPUT_TOKEN = "output_token"  # noqa: S105 - a unit, no secret
    OUTPUT_SECOND = "output_second"


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """US dollars for each unit that is billed, where that was published, and when it was read (ISO date)."""

    amounts: Mapping[BillingUnit, Decimal]
    source: str
    as_of: str

    @classmethod
    def parse(cls, record: Mapping[str, Any]) -> Price:
        """Parse `{"per_image": "0.003", "source": …, "as_of": …}`."""
        amounts = {unit: Decimal(record[f"per_{unit}"]) for unit in BillingUnit if f"per_{unit}" in record}
        return cls(amounts=amounts, source=record["source"], as_of=record["as_of"])


@dataclass(frozen=True, slots=True)
class PriceBook:
    """Prices by the name of a model, `owner/name`."""

    prices: Mapping[str, Price]

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> PriceBook:
        """Parse the shipped document: `models` by name."""
        return cls({name: Price.parse(record) for name, record in document["models"].items()})

    def find_price(self, model: str) -> Price | None:
        return self.prices.get(model)
