"""A model entry, from the admin API to Replicate's unmodified client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import requests
from replicate.exceptions import ReplicateError

from tests.integration.api_client import ApiClient
from tests.integration.models import FLUX, SMALL_IMAGE_INPUT
from tools.local.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from replicate.client import Client
    from replicate.prediction import Prediction

    from tools.local.stack import Stack

# No page has an example with this name.
ALIAS = "team/described-image"
ENTRY = {
    "target": FLUX,
    "description": "Fast images for everybody",
    "defaults": {"num_outputs": 2},
    "price": {"per_image": "0.004", "source": "https://replicate.com/pricing", "as_of": "2026-11-01"},
}


@pytest.fixture
def entry(stack: Stack) -> Iterator[dict[str, Any]]:
    url = f"{stack.api_url}/admin/models/{ALIAS}"
    headers = {"Authorization": f"Bearer {stack.admin_key}"}
    response = requests.put(url, json=ENTRY, headers=headers, timeout=30)
    assert response.status_code == 200, response.text
    yield response.json()
    assert requests.delete(url, headers=headers, timeout=30).status_code == 204


def test_client_runs_the_name_of_an_entry(client: Client, stack: Stack, entry: dict[str, Any]) -> None:
    api = ApiClient(stack.api_url, stack.api_key)

    def find_model() -> dict[str, Any] | None:
        response = api.call("GET", f"/v1/models/{ALIAS}")
        return response.json() if response.status_code == requests.codes.ok else None

    def create() -> Prediction | None:
        try:
            prediction = client.predictions.create(model=ALIAS, input=SMALL_IMAGE_INPUT)
        except ReplicateError:
            return None
        return prediction if api.get(prediction.id)["proxy"].get("requested_model") == ALIAS else None

    # Functions that have read the entries before see the new one within ten seconds.
    model = wait_for(find_model, timeout_seconds=20, description="a description of the entry")
    prediction = wait_for(create, timeout_seconds=20, description="a prediction of the entry")
    prediction.wait()

    assert (model["owner"], model["name"]) == ("team", "described-image")
    assert model["description"] == entry["description"]
    assert prediction.status == "succeeded", prediction.error
    assert prediction.model == FLUX
    assert len(prediction.output or ()) == 2
    shown = api.get(prediction.id)["proxy"]
    assert shown["requested_model"] == ALIAS
    assert (shown["cost"]["usd"], shown["cost"]["basis"]) == ("0.008000", "2 images × $0.004")
