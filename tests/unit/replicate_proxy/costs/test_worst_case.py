"""The most that a prediction may cost, by its price and input."""

from __future__ import annotations

from typing import Any

import pytest

from replicate_proxy.costs.prices import Price
from replicate_proxy.costs.worst_case import calculate_worst_case


@pytest.mark.parametrize(
    ("amounts", "model_input", "expected"),
    [
        ({"per_image": "0.003"}, {}, 3000),
        ({"per_image": "0.003"}, {"num_outputs": 4}, 12_000),
        ({"per_image": "0.003"}, {"num_outputs": 2, "max_images": 3}, 9000),
        ({"per_image": "0.003"}, {"num_outputs": "4"}, 12_000),
        ({"per_image": "0.003"}, {"num_outputs": " 4.0 ", "n": "many"}, 12_000),
        ({"per_image": "0.003"}, {"num_outputs": "1e400"}, 3000),
        ({"per_image": "0.003"}, {"num_outputs": True}, 3000),
        ({"per_image": "0.003"}, {"num_outputs": -5}, 3000),
        ({"per_run": "0.0000001"}, {}, 1),
        ({"per_run": "0.01", "per_output_second": "0.1"}, {"duration": 5}, 510_000),
        ({"per_output_second": "0.1"}, {"duration": "5"}, 500_000),
        ({"per_output_second": "0.1"}, {}, None),
        ({"per_second": "0.000975"}, {}, None),
        ({"per_input_token": "0.000001", "per_output_token": "0.000002"}, {"max_tokens": 10}, None),
    ],
)
def test_worst_case(amounts: dict[str, str], model_input: dict[str, Any], expected: int | None) -> None:
    price = Price.parse({**amounts, "source": "https://replicate.test", "as_of": "2026-01-01"})

    assert calculate_worst_case(price, model_input) == expected
