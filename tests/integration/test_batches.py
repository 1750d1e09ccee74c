"""Batches on the deployed stack: the gateway's models, a real transaction, and everybody's rights."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.integration.api import ApiClient
from tools.local import waiting
from tools.simulator.client import SimulatorClient

SECONDS = 120.0


def entry(**given: Any) -> dict[str, Any]:
    return {"version": "local/lab", "input": given}


def create(api: ApiClient, *entries: dict[str, Any], key: str | None = None) -> dict[str, Any]:
    headers = {"idempotency-key": key} if key else {}
    answer = api.call("POST", "/v1/batches", {"predictions": list(entries)}, headers=headers)
    assert answer.status_code == 201, answer.text
    batch: dict[str, Any] = answer.json()
    return batch


def show(api: ApiClient, batch_id: str) -> dict[str, Any]:
    answer = api.call("GET", f"/v1/batches/{batch_id}")
    assert answer.status_code == 200, answer.text
    batch: dict[str, Any] = answer.json()
    return batch


def completed(api: ApiClient, batch_id: str) -> dict[str, Any]:
    def over() -> dict[str, Any] | None:
        batch = show(api, batch_id)
        return batch if batch["status"] == "completed" else None

    return waiting.wait_for(over, timeout_seconds=SECONDS, description="end of the batch")


def test_a_batch_runs_each_of_its_predictions_once(api: ApiClient, simulator: SimulatorClient) -> None:
    marks = [uuid.uuid4().hex for _ in range(2)]
    key = uuid.uuid4().hex
    entries = [entry(output=mark) for mark in marks]
    entries.append(entry(output="x", status="failed"))

    batch = create(api, *entries, key=key)
    again = create(api, *entries, key=key)
    done = completed(api, batch["id"])

    assert again["id"] == batch["id"]
    assert batch["total"] == 3
    assert [one["output"] for one in done["predictions"]] == [*marks, None]
    assert done["counts"] == {"starting": 0, "processing": 0, "succeeded": 2, "failed": 1, "canceled": 0}
    paid = [one["proxy"]["replicate_id"] for one in done["predictions"]]
    assert len(set(paid)) == 3
    assert all(simulator.get_timeline(prediction_id) for prediction_id in paid)
    assert done["predictions"][0] == api.get(done["predictions"][0]["id"])


def test_a_batch_is_canceled_as_a_whole(api: ApiClient) -> None:
    batch = create(api, *[entry(output=str(number), latency=600) for number in range(3)])
    canceled = api.call("POST", f"/v1/batches/{batch['id']}/cancel").json()
    done = completed(api, batch["id"])

    assert batch["counts"]["starting"] == canceled["total"] == 3
    assert done["counts"]["canceled"] == 3


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"predictions": []}, None),
        ({"predictions": [{"version": "local/lab"}]}, None),
        ({"predictions": [entry()] * 51}, None),
        ({"predictions": "all"}, None),
        ({"predictions": [entry(), {"model": "local", "input": {}}]}, "predictions.1.model"),
        ({"predictions": [entry(), entry() | {"webhook": "http://app.example"}]}, "predictions.1.webhook"),
    ],
)
def test_what_is_wrong_is_refused_whole(api: ApiClient, body: dict[str, Any], field: str | None) -> None:
    """Some by the gateway's model, which names no field, the others by the function, which does."""
    before = len(api.call("GET", "/v1/predictions").json()["results"])

    answer = api.call("POST", "/v1/batches", body)

    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    if field is not None:
        assert [one["field"] for one in answer.json()["invalid_fields"]] == [field]
    assert len(api.call("GET", "/v1/predictions").json()["results"]) == before
