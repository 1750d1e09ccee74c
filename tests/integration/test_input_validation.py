"""Inputs are validated once the schema of their model is known, which the first job makes happen."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
import requests

from tests.integration.models import FLUX, SDXL, SMALL_IMAGE_INPUT, get_version
from tools.local.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.integration.api_client import ApiClient
    from tools.local.stack import Stack
    from tools.simulator.client import SimulatorClient

VALID = {"prompt": "a lighthouse", "width": 64, "height": 64}
INVALID = {**VALID, "width": 9000, "num_outputs": "many"}


def create(api: ApiClient, **model_input: Any) -> requests.Response:
    body = {"version": get_version(SDXL), "input": model_input}
    return api.call_until_available("POST", "/v1/predictions", body)


def count_predictions(simulator: SimulatorClient) -> int:
    return sum(simulator.get_stats()["predictions_by_job"].values())


def count_jobs(api: ApiClient) -> int:
    return len(api.call("GET", "/v1/predictions").json()["results"])


@pytest.fixture
def known(api: ApiClient) -> ApiClient:
    """A client, once the schema of the model is known: a refused field then is a 422."""
    created = api.create(get_version(SDXL), VALID)
    assert api.wait_until_finished(created["id"])["status"] == "succeeded"

    def is_known() -> bool:
        # Before the schema is known, such a field has no effect.
        response = create(api, **VALID, unknown_field=1)
        return "warnings" in response.json().get("proxy", {})

    wait_for(is_known, timeout_seconds=60, description="the schema of the model")
    # Another execution environment may have looked before, and remembers that for three seconds.
    time.sleep(4)
    return api


def test_invalid_input_is_refused_before_anything_is_queued(
    known: ApiClient, simulator: SimulatorClient
) -> None:
    jobs, predictions = count_jobs(known), count_predictions(simulator)

    response = create(known, **INVALID)

    assert response.status_code == 422, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["title"] == "Input validation failed"
    assert [(field["type"], field["field"]) for field in problem["invalid_fields"]] == [
        ("number_lte", "input.width"),
        ("invalid_type", "input.num_outputs"),
    ]
    assert count_jobs(known) == jobs
    assert count_predictions(simulator) == predictions

    missing = create(known, width=64).json()["invalid_fields"]
    assert missing == [{"type": "required", "field": "input", "description": "prompt is required"}]
    good = create(known, **VALID)
    assert good.status_code == 201, good.text
    assert "warnings" not in good.json()["proxy"]
    assert known.wait_until_finished(good.json()["id"])["status"] == "succeeded"


def test_replicate_refuses_the_same_input(known: ApiClient, simulator: SimulatorClient) -> None:
    refused_here = create(known, **INVALID).json()

    body = {"version": get_version(SDXL), "input": INVALID}
    headers = {"Authorization": f"Bearer {simulator.token}"}
    url = f"{simulator.url}/v1/predictions"
    refused_there = requests.post(url, json=body, headers=headers, timeout=30)

    assert refused_there.status_code == 422
    there = refused_there.json()
    assert {field["field"] for field in there["invalid_fields"]} == {
        field["field"] for field in refused_here["invalid_fields"]
    }
    assert there["title"] == refused_here["title"]


def test_unknown_field_is_a_warning(known: ApiClient) -> None:
    created = create(known, **VALID, widths=64)

    assert created.status_code == 201, created.text
    warning = "input.widths is not a field of this model, which ignores or refuses it; did you mean width?"
    assert created.json()["proxy"]["warnings"] == [warning]
    assert known.get(created.json()["id"])["proxy"]["warnings"] == [warning]


def test_prediction_of_a_batch_is_named(known: ApiClient) -> None:
    version = get_version(SDXL)
    predictions = [{"version": version, "input": VALID}, {"version": version, "input": {**VALID, "width": 1}}]

    response = known.call("POST", "/v1/batches", {"predictions": predictions})

    assert response.status_code == 422, response.text
    assert response.json()["invalid_fields"][0]["field"] == "predictions.1.input.width"


@pytest.fixture
def put_entry(stack: Stack) -> Iterator[Callable[..., requests.Response]]:
    url = f"{stack.api_url}/admin/models/team/checked"
    headers = {"Authorization": f"Bearer {stack.admin_key}"}
    yield lambda **entry: requests.put(url, json=entry, headers=headers, timeout=30)
    requests.delete(url, headers=headers, timeout=30)


def test_description_of_a_model_makes_its_schema_known(
    api: ApiClient, put_entry: Callable[..., requests.Response]
) -> None:
    assert api.call("GET", f"/v1/models/{FLUX}").status_code == 200

    refused = wait_for(
        lambda: (
            response
            if (response := put_entry(target=FLUX, defaults={"num_outputs": 99})).status_code == 422
            else None
        ),
        timeout_seconds=30,
        description="the schema of the model",
    )

    assert refused.json()["invalid_fields"][0]["field"] == "defaults.num_outputs"
    assert put_entry(target=FLUX, defaults={"num_outputs": 2}).status_code == 200
    bad = api.call_until_available(
        "POST", f"/v1/models/{FLUX}/predictions", {"input": {**SMALL_IMAGE_INPUT, "output_format": "bmp"}}
    )
    assert bad.status_code == 422, bad.text
    assert bad.json()["invalid_fields"][0]["description"].startswith("output_format must be one of")
