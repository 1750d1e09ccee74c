"""Several accounts at the local Replicate: each sees and limits its own predictions only."""

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tools.simulator.client import SimulatorClient, run_simulator

SDXL = "stability-ai/sdxl"
OWN_SECRET = "whsec_b3duLWFjY291bnQtc2VjcmV0LW93bi1hY2NvdW50"
OWN: dict[str, Any] = {"username": "own", "token": "r8_own", "webhook_secret": OWN_SECRET}


@pytest.fixture(scope="module")
def started() -> Iterator[SimulatorClient]:
    with run_simulator("--latency", "0.05") as client:
        yield client


@pytest.fixture
def simulator(started: SimulatorClient) -> SimulatorClient:
    started.reset()
    started.change_settings(accounts=[OWN])
    return started


def call(simulator: SimulatorClient, token: str, method: str, path: str, body: Any = None) -> Any:
    headers = {"authorization": f"Bearer {token}"}
    return requests.request(method, f"{simulator.url}/v1{path}", headers=headers, json=body, timeout=10)


def create(simulator: SimulatorClient, token: str) -> Any:
    return call(simulator, token, "POST", "/predictions", {"version": "local/lab", "input": {"output": "x"}})


def test_prediction_of_another_account_is_not_found(simulator: SimulatorClient) -> None:
    own_id = create(simulator, "r8_own").json()["id"]
    shared_id = create(simulator, simulator.token).json()["id"]
    for token, visible, hidden in (("r8_own", own_id, shared_id), (simulator.token, shared_id, own_id)):
        assert call(simulator, token, "GET", f"/predictions/{visible}").status_code == 200
        assert call(simulator, token, "GET", f"/predictions/{hidden}").status_code == 404
        assert call(simulator, token, "POST", f"/predictions/{hidden}/cancel").status_code == 404
        results = call(simulator, token, "GET", "/predictions").json()["results"]
        assert [prediction["id"] for prediction in results] == [visible]
    assert simulator.get_stats()["predictions_by_account"] == {"own": 1, "local": 1}


def test_account_has_a_name_and_a_webhook_secret(simulator: SimulatorClient) -> None:
    assert call(simulator, "r8_own", "GET", "/account").json()["username"] == "own"
    assert call(simulator, simulator.token, "GET", "/account").json()["username"] == "local"
    assert call(simulator, "r8_own", "GET", "/webhooks/default/secret").json()["key"] == OWN_SECRET
    assert call(simulator, "r8_unknown", "GET", "/account").status_code == 401


def test_rate_limit_and_faults_of_an_account_are_its_own(simulator: SimulatorClient) -> None:
    simulator.change_settings(accounts=[{**OWN, "rate_limit_per_minute": 1}])
    statuses = [create(simulator, token).status_code for token in ("r8_own", "r8_own", simulator.token)]
    assert statuses == [201, 429, 201]
    simulator.change_settings(accounts=[OWN])
    simulator.inject_fault("create", "status", status=402, contains="account=own", times=None)
    assert [create(simulator, token).status_code for token in ("r8_own", simulator.token)] == [402, 201]


def test_private_model_is_hidden_from_others(simulator: SimulatorClient) -> None:
    simulator.change_settings(accounts=[{**OWN, "private_models": [SDXL]}])
    version = call(simulator, "r8_own", "GET", f"/models/{SDXL}").json()["latest_version"]["id"]
    assert call(simulator, simulator.token, "GET", f"/models/{SDXL}").status_code == 404
    body = {"version": version, "input": {"prompt": "a cat"}}
    assert call(simulator, "r8_own", "POST", "/predictions", body).status_code == 201
    assert call(simulator, simulator.token, "POST", "/predictions", body).status_code == 422
    listed = call(simulator, simulator.token, "GET", "/models").json()["results"]
    assert SDXL not in {f"{model['owner']}/{model['name']}" for model in listed}
