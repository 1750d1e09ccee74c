"""The most that a prediction may cost, from its price and what its input asks for. No I/O."""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal
from typing import TYPE_CHECKING, Any

from replicate_proxy.costs.money import MICRO_PER_USD
from replicate_proxy.costs.prices import BillingUnit
from replicate_proxy.input_schemas.coercion import parse_number

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from replicate_proxy.costs.prices import Price

# How inputs of models on Replicate name the number of images, and the seconds of a video.
_IMAGE_COUNTS = ("num_outputs", "number_of_images", "num_images", "max_images", "n")
_DURATIONS = ("duration", "duration_seconds", "seconds")


def calculate_worst_case(price: Price, model_input: Mapping[str, Any]) -> int | None:
    """Return the most that a prediction may cost, in millionths of a US dollar, or None without a bound.

    Runs are one, images as many as the input asks for, or one. Time and tokens have no bound: a cancel takes
    time, and the length of a prompt in tokens is the model's.
    """
    total = Decimal(0)
    for unit, amount in price.amounts.items():
        quantity = _find_bound(unit, model_input)
        if quantity is None:
            return None
        total += quantity * amount
    return int((total * MICRO_PER_USD).to_integral_value(ROUND_CEILING))


def has_duration(model_input: Mapping[str, Any], fields: Collection[str]) -> bool:
    """Return whether the input says how many seconds to put out, in one of the fields that the model has.

    Without, a model puts out as many as it does by default.
    """
    return bool(_read_numbers(model_input, tuple(name for name in _DURATIONS if name in fields)))


def _find_bound(unit: BillingUnit, model_input: Mapping[str, Any]) -> Decimal | None:
    match unit:
        case BillingUnit.RUN:
            return Decimal(1)
        case BillingUnit.IMAGE:
            counts = _read_numbers(model_input, _IMAGE_COUNTS)
            return max(counts, default=Decimal(1))
        case BillingUnit.OUTPUT_SECOND:
            return max(_read_numbers(model_input, _DURATIONS), default=None)
        case _:
            return None


def _read_numbers(model_input: Mapping[str, Any], names: tuple[str, ...]) -> list[Decimal]:
    """Return the numbers from 1 on, also those that are sent as text, which models take as well."""
    values = [model_input.get(name) for name in names]
    values = [parse_number(value) if isinstance(value, str) else value for value in values]
    numbers = [Decimal(str(value)) for value in values if type(value) in {int, float}]
    return [number for number in numbers if number.is_finite() and number >= 1]
