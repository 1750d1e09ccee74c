"""Batches on the deployed stack, with the gateway's models, real transactions and permissions."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.integration.api_client import ApiClient
from tools.local.waiting import wait_for
from tools.simulator.client import SimulatorClient

BATCH_TIMEOUT_SECONDS = 120.0


def _build_entry(**model_input: Any) -> dict[str, Any]:
    return {"version": "local/lab", "input": model_input}


def _create_batch(api: ApiClient, *entries: dict[str, Any], idempotency_key: str = "") -> dict[str, Any]:
    headers = {"idempotency-key": idempotency_key} if idempotency_key else {}
    response = api.call("POST", "/v1/batches", {"predictions": list(entries)}, headers=headers)
    assert response.status_code == 201, response.text
    batch: dict[str, Any] = response.json()
    return batch


def _wait_until_completed(api: ApiClient, batch_id: str) -> dict[str, Any]:
    def get_completed() -> dict[str, Any] | None:
        response = api.call("GET", f"/v1/batches/{batch_id}")
        assert response.status_code == 200, response.text
        batch: dict[str, Any] = response.json()
        return batch if batch["status"] == "completed" else None

    return wait_for(get_completed, timeout_seconds=BATCH_TIMEOUT_SECONDS, description="the end of the batch")


def test_batch_runs_each_prediction_once_when_it_is_created_twice(
    api: ApiClient, simulator: SimulatorClient
) -> None:
    outputs = [uuid.uuid4().hex for _ in range(2)]
    key = uuid.uuid4().hex
    entries = [_build_entry(output=output) for output in outputs]
    entries.append(_build_entry(output="written before the failure", status="failed"))

    batch = _create_batch(api, *entries, idempotency_key=key)
    repeated = _create_batch(api, *entries, idempotency_key=key)
    completed = _wait_until_completed(api, batch["id"])

    assert repeated["id"] == batch["id"]
    assert batch["total"] == 3
    predictions = completed["predictions"]
    assert [prediction["output"] for prediction in predictions] == [*outputs, "written before the failure"]
    assert completed["counts"] == {
        "starting": 0,
        "processing": 0,
        "succeeded": 2,
        "failed": 1,
        "canceled": 0,
    }
    replicate_ids = [prediction["proxy"]["replicate_id"] for prediction in predictions]
    assert len(set(replicate_ids)) == 3
    assert all(simulator.get_timeline(replicate_id) for replicate_id in replicate_ids)
    assert predictions[0] == api.get(predictions[0]["id"])


def test_cancel_of_a_batch_cancels_all_predictions(api: ApiClient) -> None:
    entries = [_build_entry(output=str(number), latency=600) for number in range(3)]
    batch = _create_batch(api, *entries)
    canceled = api.call("POST", f"/v1/batches/{batch['id']}/cancel").json()
    completed = _wait_until_completed(api, batch["id"])

    assert batch["counts"]["starting"] == canceled["total"] == 3
    assert completed["counts"]["canceled"] == 3


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"predictions": []}, None),
        ({"predictions": [{"version": "local/lab"}]}, None),
        ({"predictions": [_build_entry()] * 51}, None),
        ({"predictions": "all"}, None),
        ({"predictions": [_build_entry(), {"model": "local", "input": {}}]}, "predictions.1.model"),
        (
            {"predictions": [_build_entry(), _build_entry() | {"webhook": "ftp://app.example"}]},
            "predictions.1.webhook",
        ),
    ],
)
def test_batch_is_rejected_as_a_whole_when_an_entry_is_invalid(
    api: ApiClient, body: dict[str, Any], field: str | None
) -> None:
    """The gateway's model rejects some of them without a field, the function rejects others with it."""
    count_before = len(api.call("GET", "/v1/predictions").json()["results"])

    response = api.call("POST", "/v1/batches", body)

    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    if field is not None:
        assert [invalid["field"] for invalid in response.json()["invalid_fields"]] == [field]
    assert len(api.call("GET", "/v1/predictions").json()["results"]) == count_before
