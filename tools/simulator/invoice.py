"""An invoice of the predictions, by Replicate's published rules (replicate.com/pricing; docs, "Billing").

It shares nothing with the code that it checks. Amounts are whole nanodollars until a line is rounded, half
up, to millionths of a dollar.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tools.simulator.predictions import Prediction

_NANODOLLARS_PER_MICRODOLLAR = 1000
_NANOSECONDS = 10**9
# replicate.com/pricing: an Nvidia T4 costs $0.000225 a second, an L40S $0.000975. In nanodollars.
_T4_SECOND = 225_000
_L40S_SECOND = 975_000
_HARDWARE_SECOND = {"local/stream-lab": _L40S_SECOND}
# Official models cost what they put out; in nanodollars for each image or token (pages of the models).
_OUTPUT_PRICES = {
    "black-forest-labs/flux-schnell": {"image_count": 3_000_000},
    "black-forest-labs/flux-1.1-pro": {"image_count": 40_000_000},
    "meta/meta-llama-3-8b-instruct": {"input_token_count": 50, "output_token_count": 250},
}


@dataclass(frozen=True, slots=True)
class InvoiceLine:
    """What one prediction costs its account; `jobs` are what its webhook URL names."""

    prediction_id: str
    account: str
    model: str
    status: str
    micro_usd: int
    jobs: list[str]


def build_invoice(predictions: Iterable[Prediction], job_parameters: tuple[str, ...]) -> dict[str, Any]:
    """Return the lines of all predictions that are over, and their sum."""
    lines = [
        InvoiceLine(
            prediction_id=prediction.id,
            account=prediction.account,
            model=prediction.model,
            status=prediction.status,
            micro_usd=calculate_charge(prediction),
            jobs=list(find_jobs(prediction, job_parameters)),
        )
        for prediction in predictions
        if prediction.is_terminal
    ]
    return {"lines": [asdict(line) for line in lines], "micro_usd": sum(line.micro_usd for line in lines)}


def calculate_charge(prediction: Prediction) -> int:
    """Return the charge in millionths of a US dollar.

    Failed predictions are free. Canceled ones cost the time in which they ran; by output they cost nothing
    here, since Replicate does not say what they do.
    """
    if prediction.status not in {"succeeded", "canceled"}:
        return 0
    prices = _OUTPUT_PRICES.get(prediction.model)
    if prices is not None:
        metrics = prediction.metrics or {}
        nanodollars = Fraction(sum(metrics.get(name, 0) * price for name, price in prices.items()))
    else:
        price = _HARDWARE_SECOND.get(prediction.model, _T4_SECOND)
        nanodollars = Fraction(_measure_run(prediction) * price, _NANOSECONDS)
    return int(nanodollars / _NANODOLLARS_PER_MICRODOLLAR + Fraction(1, 2))


def _measure_run(prediction: Prediction) -> int:
    """Return the nanoseconds in which the prediction ran."""
    if prediction.started_ns is None or prediction.completed_ns is None:
        return 0
    return prediction.completed_ns - prediction.started_ns


def find_jobs(prediction: Prediction, job_parameters: tuple[str, ...]) -> Iterator[str]:
    """Yield what the webhook URL of the prediction has in those parameters."""
    for name, value in parse_qsl(urlsplit(prediction.webhook or "").query):
        if name in job_parameters:
            yield value
