"""The control API: fault rules, settings, counts, timelines, held predictions, reset."""

import time
from typing import Any

import pytest
import requests

from tools.simulator.client import SimulatorClient, run_simulator


def call_control_api(simulator: SimulatorClient, method: str, path: str, **options: Any) -> requests.Response:
    return requests.request(method, f"{simulator.url}/_control/{path}", timeout=5, **options)


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        ({"endpoint": "create"}, "kind"),
        ({"endpoint": "nowhere", "kind": "status"}, "endpoint"),
        ({"endpoint": "create", "kind": "lose"}, ""),
        ({"endpoint": "webhook", "kind": "status"}, ""),
        ({"endpoint": "create", "kind": "status", "event": "start"}, ""),
        ({"endpoint": "create", "kind": "status", "probability": 2}, "probability"),
        ({"endpoint": "create", "kind": "status", "color": "red"}, "color"),
    ],
)
def test_invalid_rule_is_rejected_with_field(
    simulator: SimulatorClient, rule: dict[str, Any], field: str
) -> None:
    response = call_control_api(simulator, "POST", "faults", json=rule)
    assert response.status_code == 422
    assert response.json()["invalid_fields"][0]["field"] == field
    assert call_control_api(simulator, "GET", "faults").json()["rules"] == []


def test_clearing_rules_keeps_counts(api: Any, simulator: SimulatorClient) -> None:
    rules = [{"endpoint": "list", "kind": "status"}, {"endpoint": "get", "kind": "status"}]
    assert call_control_api(simulator, "POST", "faults", json={"rules": rules}).json() == {"numbers": [1, 2]}
    assert api.call("GET", "/v1/predictions").status_code == 500
    report = call_control_api(simulator, "DELETE", "faults").json()
    assert report == {"rules": [], "fired": {"status": 1}}
    assert api.call("GET", "/v1/predictions").status_code == 200


def test_rule_with_probability_fires_reproducibly(api: Any, simulator: SimulatorClient) -> None:
    def get_statuses() -> list[int]:
        simulator.reset()
        simulator.inject_fault("list", "status", probability=0.3, times=None)
        return [api.call("GET", "/v1/predictions").status_code for _ in range(60)]

    first = get_statuses()
    assert first == get_statuses()
    assert 6 <= first.count(500) <= 30


@pytest.mark.parametrize("body", [{"latency": -1}, {"color": 1}, []])
def test_invalid_settings_change_nothing(simulator: SimulatorClient, body: Any) -> None:
    before = simulator.call_control_api("GET", "settings")
    assert call_control_api(simulator, "POST", "settings", json=body).status_code == 422
    assert simulator.call_control_api("GET", "settings") == before


def test_body_that_is_not_json_is_400(simulator: SimulatorClient) -> None:
    assert call_control_api(simulator, "POST", "settings", data=b"{").status_code == 400


def test_changed_latency_applies_to_next_run(api: Any, simulator: SimulatorClient) -> None:
    simulator.change_settings(latency=0.5, jitter=0)
    body = {"version": "local/lab", "input": {}}
    response = api.call("POST", "/v1/predictions", json=body, headers={"Prefer": "wait"})
    assert response.json()["metrics"]["predict_time"] == pytest.approx(0.5, abs=0.2)


def test_rate_limit_throttles_creates_only(api: Any, simulator: SimulatorClient) -> None:
    simulator.change_settings(rate_limit_per_minute=6, rate_limit_burst=2)
    body = {"version": "local/lab", "input": {}}
    responses = [api.call("POST", "/v1/predictions", json=body) for _ in range(3)]
    assert [response.status_code for response in responses] == [201, 201, 429]
    assert [response.headers["ratelimit-remaining"] for response in responses] == ["1", "0", "0"]
    assert 8 <= responses[2].json()["retry_after"] <= 10
    assert responses[2].headers["retry-after"] == str(responses[2].json()["retry_after"])
    assert api.call("GET", "/v1/predictions").status_code == 200
    assert simulator.get_stats()["predictions_created"] == 2


def test_stats_count_by_job_and_endpoint(api: Any, simulator: SimulatorClient) -> None:
    simulator.change_settings(webhooks_enabled=False, job_parameters=["job", "task"])
    for url in ("https://a.example/?job=1", "https://a.example/?job=1", "https://a.example/?task=2"):
        api.create_lab(webhook=url)
    api.create_lab()
    api.get_prediction("none")
    stats = simulator.get_stats()
    assert stats["predictions_created"] == 4
    assert stats["predictions_by_job"] == {"1": 2, "2": 1}
    assert stats["requests"] == {"create": 4, "get": 1}
    assert stats["responses"] == {"create 201": 4, "get 404": 1}


def test_control_list_shows_webhook_input_and_attempts(
    api: Any, simulator: SimulatorClient, receiver: Any
) -> None:
    api.create_lab(webhook=f"{receiver.url}/?job=1", prompt="x")
    api.create_lab(latency=60)
    receiver.wait_for_call()
    listed = simulator.call_control_api("GET", "predictions?webhook=job=1")["results"]
    assert [(item["model"], item["input"]["prompt"]) for item in listed] == [("local/lab", "x")]
    assert listed[0]["webhook_attempts"][0]["event"] == "completed"
    assert len(simulator.call_control_api("GET", "predictions?status=processing")["results"]) == 1


def test_timeline_has_unix_seconds_in_order(api: Any, simulator: SimulatorClient, receiver: Any) -> None:
    before = time.time()
    prediction = api.create_lab(latency=0.05, webhook=receiver.url)
    receiver.wait_for_call()
    timeline = simulator.get_timeline(prediction["id"])
    sent_at = timeline["webhook_attempts"][0]["sent_at"]
    times = [
        before,
        timeline["created_at"],
        timeline["started_at"],
        timeline["completed_at"],
        sent_at,
        time.time(),
    ]
    assert times == sorted(times)


def test_held_prediction_ends_as_completion_says(
    api: Any, simulator: SimulatorClient, wait_until: Any
) -> None:
    prediction = api.create_lab(hold=True, output="scripted")
    wait_until(lambda: api.get_prediction(prediction["id"])["status"] == "processing")
    simulator.complete_prediction(
        prediction["id"], status="succeeded", output=[{"$file": "txt"}], logs="by hand"
    )
    wait_until(lambda: api.get_prediction(prediction["id"])["status"] == "succeeded")
    completed = api.get_prediction(prediction["id"])
    assert completed["output"][0].endswith("/out-0.txt")
    assert completed["logs"] == "by hand"


def test_completion_during_the_run_time_applies_at_its_end(
    api: Any, simulator: SimulatorClient, wait_until: Any
) -> None:
    prediction = api.create_lab(hold=True, output="scripted", latency=0.3)
    wait_until(lambda: api.get_prediction(prediction["id"])["status"] == "processing")
    simulator.complete_prediction(prediction["id"], output="early")
    assert api.get_prediction(prediction["id"])["status"] == "processing"
    wait_until(lambda: api.get_prediction(prediction["id"])["output"] == "early")


def test_held_prediction_fails_or_follows_its_script(
    api: Any, simulator: SimulatorClient, wait_until: Any
) -> None:
    simulator.change_settings(hold=True)
    scripted, failed = api.create_lab(output="scripted"), api.create_lab(output="scripted")
    wait_until(lambda: api.get_prediction(failed["id"])["status"] == "processing")
    simulator.complete_prediction(scripted["id"])
    simulator.complete_prediction(failed["id"], status="failed", error="no")
    wait_until(
        lambda: (
            api.get_prediction(scripted["id"])["status"] == "succeeded"
            and api.get_prediction(failed["id"])["error"] == "no"
        )
    )
    assert api.get_prediction(scripted["id"])["output"] == "scripted"


@pytest.mark.parametrize(("path", "status"), [("complete", 409), ("expire", 409)])
def test_completing_or_expiring_running_prediction_is_409(
    api: Any, simulator: SimulatorClient, path: str, status: int
) -> None:
    prediction = api.create_lab(latency=60)
    assert (
        call_control_api(simulator, "POST", f"predictions/{prediction['id']}/{path}", json={}).status_code
        == status
    )
    assert call_control_api(simulator, "POST", f"predictions/none/{path}", json={}).status_code == 404


@pytest.mark.parametrize("body", [{"status": "canceled"}, {"output": {"$file": "exe"}}, {"color": 1}])
def test_invalid_completion_is_422(api: Any, simulator: SimulatorClient, body: Any) -> None:
    prediction = api.create_lab(hold=True)
    response = call_control_api(simulator, "POST", f"predictions/{prediction['id']}/complete", json=body)
    assert response.status_code == 422


def test_reset_restores_initial_state(api: Any, simulator: SimulatorClient, receiver: Any) -> None:
    simulator.change_settings(latency=9)
    simulator.inject_fault("get", "status")
    prediction = api.create_lab(latency=0.3, webhook=receiver.url)
    simulator.reset()
    assert receiver.stays_quiet(0.5)
    assert api.call("GET", f"/v1/predictions/{prediction['id']}").status_code == 404
    assert simulator.get_stats()["predictions_created"] == 0
    assert simulator.call_control_api("GET", "settings")["latency"] == 0.05


def test_options_set_token_secret_and_third_party_origin() -> None:
    options = (
        "--token",
        "r8_mine",
        "--webhook-secret",
        "whsec_bWluZQ==",
        "--third-party-url",
        "http://b.example",
    )
    with run_simulator(*options) as own_simulator:
        header = {"Authorization": "Bearer r8_mine"}
        secret = requests.get(
            f"{own_simulator.url}/v1/webhooks/default/secret", headers=header, timeout=5
        ).json()
        body = {"version": "local/lab", "input": {"output": {"$file": "txt", "origin": "third-party"}}}
        prediction = requests.post(
            f"{own_simulator.url}/v1/predictions", json=body, headers={**header, "Prefer": "wait"}, timeout=5
        ).json()
    assert secret == {"key": "whsec_bWluZQ=="}
    assert prediction["output"].startswith("http://b.example/third-party/")
