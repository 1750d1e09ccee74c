"""Operators act on predictions of the deployed stack: cancel, redeliver, harvest and retry."""

from __future__ import annotations

import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import requests

from tests.integration.api_client import ApiClient
from tests.integration.receiver import run_receiver
from tools.local.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from tools.simulator.client import SimulatorClient


def act(operator: ApiClient, tenant: str, job_id: str, action: str) -> requests.Response:
    return operator.call("POST", f"/admin/jobs/{tenant}/{job_id}/{action}", {})


def list_actions(operator: ApiClient, tenant: str, job_id: str) -> list[dict[str, Any]]:
    story = operator.call("GET", f"/admin/jobs/{tenant}/{job_id}/story").json()
    return [event for event in story["events"] if event["kind"] in {"operator", "retry"}]


def test_running_prediction_is_canceled(make_api: Callable[[], ApiClient], operator: ApiClient) -> None:
    api = make_api()
    job_id = api.create("local/lab", {"output": "late", "latency": 120})["id"]
    wait_for(lambda: api.get(job_id)["status"] == "processing", timeout_seconds=60, description="the start")

    response = act(operator, api.tenant, job_id, "cancel")

    assert response.status_code == 202, response.text
    assert api.wait_until_finished(job_id)["status"] == "canceled"
    repeated = act(operator, api.tenant, job_id, "cancel")
    assert (repeated.status_code, repeated.json()["title"]) == (409, "Job has ended")
    assert [action["name"] for action in list_actions(operator, api.tenant, job_id)] == ["job.cancel"] * 2


def test_webhooks_of_a_prediction_are_sent_again(
    make_api: Callable[[], ApiClient], operator: ApiClient
) -> None:
    api = make_api()
    with run_receiver() as receiver:
        job = api.create(
            "local/lab", {"output": 1}, webhook=receiver.url, webhook_events_filter=["completed"]
        )
        receiver.wait_for(lambda received: len(received) == 1, "the webhook")

        response = act(operator, api.tenant, job["id"], "redeliver")

        assert response.status_code == 202, response.text
        received = receiver.wait_for(lambda received: len(received) == 2, "the webhook again")
    assert received[0].body == received[1].body
    assert len({request.headers["webhook-id"] for request in received}) == 1


def test_file_that_could_not_be_fetched_is_harvested_again(
    make_api: Callable[[], ApiClient], operator: ApiClient, simulator: SimulatorClient
) -> None:
    api = make_api()
    name = f"{secrets.token_hex(6)}.png"
    fault = {"endpoint": "download", "kind": "status", "status": 404, "contains": name}
    simulator.call_control_api("POST", "faults", [fault])
    model_input = {"output": {"$file": "png", "width": 64, "height": 64, "name": name}}
    job = api.run("local/lab", model_input)
    assert job["status"] == "succeeded"
    assert [file["outcome"] for file in job["proxy"]["files"]] == ["not_stored"]
    simulator.call_control_api("DELETE", "faults")

    response = act(operator, api.tenant, job["id"], "harvest")

    assert response.status_code == 202, response.text
    wait_for(
        lambda: api.get(job["id"])["proxy"]["files"][0]["outcome"] != "not_stored",
        timeout_seconds=60,
        description="the file",
    )
    stored = api.get(job["id"])
    assert stored["status"] == "succeeded"
    assert requests.get(stored["output"], timeout=30).status_code == 200
    again = act(operator, api.tenant, job["id"], "harvest")
    assert (again.status_code, again.json()["title"]) == (409, "All files are stored")


def test_failed_prediction_is_retried_once(
    make_api: Callable[[], ApiClient], operator: ApiClient, simulator: SimulatorClient
) -> None:
    api = make_api()
    with run_receiver() as receiver:
        failed = api.run(
            "local/lab",
            {"status": "failed", "error": "bad input"},
            webhook=receiver.url,
            webhook_events_filter=["completed"],
        )
        assert failed["status"] == "failed"

        with ThreadPoolExecutor(3) as threads:
            responses = list(
                threads.map(lambda _: act(operator, api.tenant, failed["id"], "retry"), range(3))
            )

        assert {response.status_code for response in responses} <= {200, 201}
        ids = {response.json()["job"]["id"] for response in responses}
        assert len(ids) == 1
        (retry_id,) = ids
        retry = api.wait_until_finished(retry_id)
        receiver.wait_for(
            lambda received: {request.prediction["id"] for request in received} == {failed["id"], retry_id},
            "the webhooks of both",
        )
    assert (retry["status"], retry["error"]) == ("failed", "bad input")
    assert retry["proxy"]["retried_from"] == failed["id"]
    assert retry["input"] == failed["input"]
    stats = simulator.call_control_api("GET", "stats")
    assert stats["predictions_by_job"][retry_id] == 1
    actions = list_actions(operator, api.tenant, failed["id"])
    assert {action["details"]["id"] for action in actions if action["kind"] == "retry"} == {retry_id}
    assert sum(action["name"] == "job.retry" for action in actions) == 3


def test_retry_beyond_the_budget_is_refused(make_api: Callable[[], ApiClient], operator: ApiClient) -> None:
    api = make_api()
    failed = api.run("local/lab", {"status": "failed", "error": "bad input"})
    budget = f"/admin/tenants/{api.tenant}/budget"
    assert operator.call("PUT", budget, {"day_usd": "0.000001"}).status_code == 200

    response = act(operator, api.tenant, failed["id"], "retry")
    assert (response.status_code, response.json()["title"]) == (402, "Budget exceeded")

    assert operator.call("DELETE", budget).status_code == 204
    assert act(operator, api.tenant, failed["id"], "retry").status_code == 201
