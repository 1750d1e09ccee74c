"""Repeated requests with an idempotency key create one job and one prediction on Replicate."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from tests.integration.api_client import ApiClient
from tools.simulator.client import SimulatorClient

BODY = {"version": "local/lab", "input": {"output": "once"}}
SIMULTANEOUS_REQUESTS = 10


def test_repeated_request_returns_the_first_job(api: ApiClient, simulator: SimulatorClient) -> None:
    headers = {"idempotency-key": "order-17"}
    first = api.call("POST", "/v1/predictions", BODY, headers=headers)
    repeated = api.call("POST", "/v1/predictions", BODY, headers=headers)
    finished = api.wait_until_finished(first.json()["id"])
    repeated_later = api.call("POST", "/v1/predictions", BODY, headers=headers)

    assert first.status_code == repeated.status_code == repeated_later.status_code == 201
    assert repeated.json()["id"] == repeated_later.json()["id"] == finished["id"]
    assert "idempotent-replayed" not in first.headers
    assert repeated.headers["idempotent-replayed"] == "true"
    assert repeated_later.headers["idempotent-replayed"] == "true"
    assert repeated_later.json() == finished
    assert simulator.get_stats()["predictions_by_job"][finished["id"]] == 1


def test_key_of_another_request_is_409(api: ApiClient) -> None:
    headers = {"idempotency-key": "order-18"}
    api.call("POST", "/v1/predictions", BODY, headers=headers)

    response = api.call("POST", "/v1/predictions", {**BODY, "input": {"output": "twice"}}, headers=headers)

    assert response.status_code == 409
    assert response.headers["content-type"].startswith("application/problem+json")


def test_same_key_of_two_tenants_creates_two_jobs(make_api: Callable[[], ApiClient]) -> None:
    headers = {"idempotency-key": "order-19"}
    ids = {
        api.call("POST", "/v1/predictions", BODY, headers=headers).json()["id"]
        for api in (make_api(), make_api())
    }

    assert len(ids) == 2


def test_repeated_request_without_key_creates_two_jobs(api: ApiClient) -> None:
    assert api.create("local/lab", {"output": 1})["id"] != api.create("local/lab", {"output": 1})["id"]


def test_simultaneous_requests_create_one_job_and_one_prediction(
    api: ApiClient, simulator: SimulatorClient
) -> None:
    def submit(_: int) -> tuple[int, str]:
        headers = {"idempotency-key": "stampede"}
        response = api.call_until_available("POST", "/v1/predictions", BODY, headers=headers)
        return response.status_code, response.json().get("id", response.text)

    with ThreadPoolExecutor(SIMULTANEOUS_REQUESTS) as threads:
        responses = list(threads.map(submit, range(SIMULTANEOUS_REQUESTS)))

    assert len(set(responses)) == 1, responses
    status, job_id = responses[0]
    assert status == 201, job_id
    assert api.wait_until_finished(job_id)["status"] == "succeeded"
    assert len(api.call("GET", "/v1/predictions").json()["results"]) == 1
    assert simulator.get_stats()["predictions_by_job"][job_id] == 1
