"""The control API: settings, counts, timelines, held predictions, reset."""

import time
from typing import Any

import pytest
import requests

from tools.simulator.client import SimulatorClient, run_simulator


def control(remote: SimulatorClient, method: str, path: str, **options: Any) -> requests.Response:
    return requests.request(method, f"{remote.url}/_control/{path}", timeout=5, **options)


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        ({"endpoint": "create"}, "kind"),
        ({"endpoint": "nowhere", "kind": "status"}, "endpoint"),
        ({"endpoint": "create", "kind": "lose"}, ""),
        ({"endpoint": "webhook", "kind": "status"}, ""),
        ({"endpoint": "create", "kind": "status", "event": "start"}, ""),
        ({"endpoint": "create", "kind": "status", "probability": 2}, "probability"),
        ({"endpoint": "create", "kind": "status", "colour": "red"}, "colour"),
    ],
)
def test_a_wrong_rule_is_refused_with_the_field(
    remote: SimulatorClient, rule: dict[str, Any], field: str
) -> None:
    answer = control(remote, "POST", "faults", json=rule)
    assert answer.status_code == 422
    assert answer.json()["invalid_fields"][0]["field"] == field
    assert control(remote, "GET", "faults").json()["rules"] == []


def test_rules_can_be_cleared_while_the_counts_stay(api: Any, remote: SimulatorClient) -> None:
    rules = [{"endpoint": "list", "kind": "status"}, {"endpoint": "get", "kind": "status"}]
    assert control(remote, "POST", "faults", json={"rules": rules}).json() == {"numbers": [1, 2]}
    assert api.call("GET", "/v1/predictions").status_code == 500
    left = control(remote, "DELETE", "faults").json()
    assert left == {"rules": [], "fired": {"status": 1}}
    assert api.call("GET", "/v1/predictions").status_code == 200


def test_a_probability_reproduces_with_the_seed(api: Any, remote: SimulatorClient) -> None:
    def drawn() -> list[int]:
        remote.reset()
        remote.inject_fault("list", "status", probability=0.3, times=None)
        return [api.call("GET", "/v1/predictions").status_code for _ in range(60)]

    first = drawn()
    assert first == drawn()
    assert 6 <= first.count(500) <= 30


@pytest.mark.parametrize("body", [{"latency": -1}, {"colour": 1}, []])
def test_wrong_settings_change_nothing(remote: SimulatorClient, body: Any) -> None:
    before = remote.call_control_api("GET", "settings")
    assert control(remote, "POST", "settings", json=body).status_code == 422
    assert remote.call_control_api("GET", "settings") == before


def test_a_body_that_is_no_json_is_400(remote: SimulatorClient) -> None:
    assert control(remote, "POST", "settings", data=b"{").status_code == 400


def test_the_latency_changes(api: Any, remote: SimulatorClient) -> None:
    remote.change_settings(latency=0.5, jitter=0)
    body = {"version": "local/lab", "input": {}}
    answer = api.call("POST", "/v1/predictions", json=body, headers={"Prefer": "wait"})
    assert answer.json()["metrics"]["predict_time"] == pytest.approx(0.5, abs=0.2)


def test_a_rate_limit_throttles_creates_only(api: Any, remote: SimulatorClient) -> None:
    remote.change_settings(rate_limit_per_minute=6, rate_limit_burst=2)
    body = {"version": "local/lab", "input": {}}
    answers = [api.call("POST", "/v1/predictions", json=body) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [201, 201, 429]
    assert [answer.headers["ratelimit-remaining"] for answer in answers] == ["1", "0", "0"]
    assert 8 <= answers[2].json()["retry_after"] <= 10
    assert answers[2].headers["retry-after"] == str(answers[2].json()["retry_after"])
    assert api.call("GET", "/v1/predictions").status_code == 200
    assert remote.get_stats()["predictions_created"] == 2


def test_stats_count_by_job_and_by_endpoint(api: Any, remote: SimulatorClient) -> None:
    remote.change_settings(webhooks=False, job_parameters=["job", "task"])
    for url in ("https://a.example/?job=1", "https://a.example/?job=1", "https://a.example/?task=2"):
        api.lab(webhook=url)
    api.lab()
    api.get("none")
    stats = remote.get_stats()
    assert stats["predictions_created"] == 4
    assert stats["predictions_by_job"] == {"1": 2, "2": 1}
    assert stats["requests"] == {"create": 4, "get": 1}
    assert stats["replies"] == {"create 201": 4, "get 404": 1}


def test_the_list_shows_webhooks_inputs_and_attempts(
    api: Any, remote: SimulatorClient, receiver: Any
) -> None:
    api.lab(webhook=f"{receiver.url}/?job=1", prompt="x")
    api.lab(latency=60)
    receiver.next()
    listed = remote.call_control_api("GET", "predictions?webhook=job=1")["results"]
    assert [(item["model"], item["input"]["prompt"]) for item in listed] == [("local/lab", "x")]
    assert listed[0]["webhook_attempts"][0]["event"] == "completed"
    assert len(remote.call_control_api("GET", "predictions?status=processing")["results"]) == 1


def test_a_timeline_has_wall_clock_seconds_in_order(api: Any, remote: SimulatorClient, receiver: Any) -> None:
    before = time.time()
    prediction = api.lab(latency=0.05, webhook=receiver.url)
    receiver.next()
    timeline = remote.get_timeline(prediction["id"])
    sent = timeline["webhook_attempts"][0]["sent_at"]
    times = [
        before,
        timeline["created_at"],
        timeline["started_at"],
        timeline["completed_at"],
        sent,
        time.time(),
    ]
    assert times == sorted(times)


def test_a_held_prediction_ends_as_told(api: Any, remote: SimulatorClient, eventually: Any) -> None:
    prediction = api.lab(hold=True, output="usual")
    eventually(lambda: api.get(prediction["id"])["status"] == "processing")
    remote.complete_prediction(
        prediction["id"], status="succeeded", output=[{"$file": "txt"}], logs="by hand"
    )
    eventually(lambda: api.get(prediction["id"])["status"] == "succeeded")
    shown = api.get(prediction["id"])
    assert shown["output"][0].endswith("/out-0.txt")
    assert shown["logs"] == "by hand"


def test_a_held_prediction_may_fail_or_keep_its_script(
    api: Any, remote: SimulatorClient, eventually: Any
) -> None:
    remote.change_settings(hold=True)
    usual, bad = api.lab(output="usual"), api.lab(output="usual")
    eventually(lambda: api.get(bad["id"])["status"] == "processing")
    remote.complete_prediction(usual["id"])
    remote.complete_prediction(bad["id"], status="failed", error="no")
    eventually(lambda: api.get(usual["id"])["status"] == "succeeded" and api.get(bad["id"])["error"] == "no")
    assert api.get(usual["id"])["output"] == "usual"


@pytest.mark.parametrize(("path", "status"), [("complete", 409), ("expire", 409)])
def test_what_is_not_held_or_not_finished_is_409(
    api: Any, remote: SimulatorClient, path: str, status: int
) -> None:
    prediction = api.lab(latency=60)
    assert control(remote, "POST", f"predictions/{prediction['id']}/{path}", json={}).status_code == status
    assert control(remote, "POST", f"predictions/none/{path}", json={}).status_code == 404


@pytest.mark.parametrize("body", [{"status": "canceled"}, {"output": {"$file": "exe"}}, {"colour": 1}])
def test_a_wrong_completion_is_422(api: Any, remote: SimulatorClient, body: Any) -> None:
    prediction = api.lab(hold=True)
    answer = control(remote, "POST", f"predictions/{prediction['id']}/complete", json=body)
    assert answer.status_code == 422


def test_reset_forgets_everything(api: Any, remote: SimulatorClient, receiver: Any) -> None:
    remote.change_settings(latency=9)
    remote.inject_fault("get", "status")
    prediction = api.lab(latency=0.3, webhook=receiver.url)
    remote.reset()
    assert receiver.quiet(0.5)
    assert api.call("GET", f"/v1/predictions/{prediction['id']}").status_code == 404
    assert remote.get_stats()["predictions_created"] == 0
    assert remote.call_control_api("GET", "settings")["latency"] == 0.05


def test_a_simulator_of_ones_own_has_its_own_secrets() -> None:
    options = (
        "--token",
        "r8_mine",
        "--webhook-secret",
        "whsec_bWluZQ==",
        "--third-party-url",
        "http://b.example",
    )
    with run_simulator(*options) as own:
        header = {"Authorization": "Bearer r8_mine"}
        secret = requests.get(f"{own.url}/v1/webhooks/default/secret", headers=header, timeout=5).json()
        body = {"version": "local/lab", "input": {"output": {"$file": "txt", "origin": "third-party"}}}
        made = requests.post(
            f"{own.url}/v1/predictions", json=body, headers={**header, "Prefer": "wait"}, timeout=5
        ).json()
    assert secret == {"key": "whsec_bWluZQ=="}
    assert made["output"].startswith("http://b.example/third-party/")
