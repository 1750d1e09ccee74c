"""The invoice of the local Replicate, by published prices."""

from typing import Any

import pytest

from tools.simulator.client import SimulatorClient
from tools.simulator.invoice import calculate_charge
from tools.simulator.predictions import Prediction, Status

SECOND = 10**9


def make_prediction(model: str, status: Status, seconds: float = 4.0, **metrics: float) -> Prediction:
    return Prediction(
        id="p1",
        model=model,
        version="hidden",
        input={},
        created_ns=0,
        started_ns=SECOND,
        completed_ns=SECOND + int(seconds * SECOND),
        status=status,
        metrics=metrics,
    )


@pytest.mark.parametrize(
    ("prediction", "micro_usd"),
    [
        (make_prediction("local/lab", "succeeded"), 900),
        (make_prediction("local/lab", "succeeded", seconds=0.002), 0),
        (make_prediction("local/lab", "succeeded", seconds=0.00223), 1),
        (make_prediction("local/lab", "canceled"), 900),
        (make_prediction("local/lab", "failed"), 0),
        (make_prediction("local/lab", "aborted"), 0),
        (make_prediction("local/stream-lab", "succeeded"), 3900),
        (make_prediction("black-forest-labs/flux-schnell", "succeeded", image_count=3), 9000),
        (make_prediction("black-forest-labs/flux-schnell", "canceled"), 0),
        (
            make_prediction(
                "meta/meta-llama-3-8b-instruct", "succeeded", input_token_count=1000, output_token_count=3
            ),
            51,
        ),
    ],
)
def test_charge_is_by_running_time_or_output(prediction: Prediction, micro_usd: int) -> None:
    assert calculate_charge(prediction) == micro_usd


def test_prediction_that_never_started_is_free() -> None:
    prediction = make_prediction("local/lab", "canceled")
    prediction.started_ns = None
    assert calculate_charge(prediction) == 0


def test_invoice_has_a_line_for_each_prediction_that_is_over(api: Any, simulator: SimulatorClient) -> None:
    webhook = "http://127.0.0.1:9/webhooks?job=j1&tenant=acme"
    body = {"version": "black-forest-labs/flux-schnell", "input": {"prompt": "a", "num_outputs": 2}}
    done = api.call(
        "POST", "/v1/predictions", json={**body, "webhook": webhook}, headers={"Prefer": "wait"}
    ).json()
    api.call("POST", "/v1/predictions", json={"version": "local/lab", "input": {"hold": True}})

    invoice = simulator.call_control_api("GET", "invoice")

    assert invoice["micro_usd"] == 6000
    (line,) = invoice["lines"]
    assert line == {
        "prediction_id": done["id"],
        "account": "local",
        "model": "black-forest-labs/flux-schnell",
        "status": "succeeded",
        "micro_usd": 6000,
        "jobs": ["j1"],
    }
