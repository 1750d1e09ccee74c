"""The limit of the queue time on the deployed stack: what waits for too long runs on the next fallback."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.api_client import ApiClient
from tools.local.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.local.stack import Stack
    from tools.simulator.client import SimulatorClient

LAB = "local/lab"
FALLBACK = "local/stream-lab"
ALIAS = "team/impatient"
ENTRY = {
    "target": LAB,
    "max_concurrency": 1,
    "fallbacks": [{"target": FALLBACK, "fields": {"startup": None, "hold": None}}],
    "fallback_after_seconds": 5,
}
# Functions read entries again after ten seconds.
CACHE_SECONDS = 11
# The sweep runs every minute, and a busy machine starts functions slowly.
TIMEOUT_SECONDS = 240


@pytest.fixture(scope="module", autouse=True)
def entry(stack: Stack) -> Iterator[None]:
    operator = ApiClient(stack.api_url, stack.admin_key)
    response = operator.call("PUT", f"/admin/models/{ALIAS}", ENTRY)
    assert response.status_code == 200, response.text
    time.sleep(CACHE_SECONDS)
    yield
    operator.call("DELETE", f"/admin/models/{ALIAS}")


def wait_until_finished(api: ApiClient, job_id: str) -> dict[str, Any]:
    return api.wait_until_finished(job_id, timeout_seconds=TIMEOUT_SECONDS)


def test_prediction_that_does_not_start_is_canceled_before_its_fallback_runs(
    api: ApiClient, simulator: SimulatorClient
) -> None:
    created = api.create(ALIAS, {"output": "done", "startup": 600})

    finished = wait_until_finished(api, created["id"])

    assert (finished["status"], finished["output"]) == ("succeeded", "done")
    assert (finished["model"], finished["proxy"]["requested_model"]) == (FALLBACK, ALIAS)
    (past,) = finished["proxy"]["past_attempts"]
    assert (past["outcome"], past["target"]) == ("canceled", LAB)
    assert past["error"] == "waited longer than 5 s at Replicate"
    assert past["cost"]["usd"] == "0.000000"
    first, second = sorted(simulator.find_predictions(created["id"]), key=lambda one: one["created_at"])
    assert first["id"] == past["replicate_id"]
    assert second["created_at"] >= first["completed_at"]


def test_prediction_that_waits_for_a_slot_of_its_model_runs_on_its_fallback(
    api: ApiClient, simulator: SimulatorClient
) -> None:
    running = api.create(ALIAS, {"output": "first", "startup": 0, "hold": True})
    wait_for(
        lambda: api.get(running["id"])["status"] == "processing",
        timeout_seconds=TIMEOUT_SECONDS,
        description="the first prediction to run",
    )

    finished = wait_until_finished(api, api.create(ALIAS, {"output": "second", "hold": True})["id"])

    assert (finished["status"], finished["output"], finished["model"]) == ("succeeded", "second", FALLBACK)
    (past,) = finished["proxy"]["past_attempts"]
    assert (past["outcome"], past["replicate_id"]) == ("not_sent", None)
    (held,) = simulator.find_predictions(running["id"])
    simulator.complete_prediction(held["id"])
    first = wait_until_finished(api, running["id"])
    assert (first["output"], first["model"], first["proxy"]["past_attempts"]) == ("first", LAB, [])
