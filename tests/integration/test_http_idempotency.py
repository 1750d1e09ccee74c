"""One request, one job, one payment: whatever the caller repeats."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from tests.integration.api import ApiClient
from tools.simulator.client import SimulatorClient

BODY = {"version": "local/lab", "input": {"output": "once"}}
DUPLICATES = 10


def test_repeat_with_the_same_key_gives_the_first_job(api: ApiClient, simulator: SimulatorClient) -> None:
    key = {"idempotency-key": "order-17"}
    first = api.call("POST", "/v1/predictions", BODY, headers=key)
    again = api.call("POST", "/v1/predictions", BODY, headers=key)
    done = api.wait_until_finished(first.json()["id"])
    later = api.call("POST", "/v1/predictions", BODY, headers=key)

    assert first.status_code == again.status_code == later.status_code == 201
    assert again.json()["id"] == later.json()["id"] == done["id"]
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == later.headers["idempotent-replayed"] == "true"
    assert later.json() == done
    assert simulator.get_stats()["predictions_by_job"][done["id"]] == 1


def test_key_of_another_request_is_a_conflict(api: ApiClient) -> None:
    key = {"idempotency-key": "order-18"}
    api.call("POST", "/v1/predictions", BODY, headers=key)

    other = api.call("POST", "/v1/predictions", {**BODY, "input": {"output": "twice"}}, headers=key)

    assert other.status_code == 409
    assert other.headers["content-type"].startswith("application/problem+json")


def test_keys_of_two_tenants_never_meet(make_api: Callable[[], ApiClient]) -> None:
    key = {"idempotency-key": "order-19"}
    ids = {
        each.call("POST", "/v1/predictions", BODY, headers=key).json()["id"]
        for each in (make_api(), make_api())
    }

    assert len(ids) == 2


def test_without_a_key_nothing_is_folded(api: ApiClient) -> None:
    assert api.create("local/lab", {"output": 1})["id"] != api.create("local/lab", {"output": 1})["id"]


def test_ten_at_once_are_one_job_and_one_upstream_prediction(
    api: ApiClient, simulator: SimulatorClient
) -> None:
    def submit(_: int) -> tuple[int, str]:
        answer = api.call("POST", "/v1/predictions", BODY, headers={"idempotency-key": "stampede"})
        return answer.status_code, answer.json().get("id", answer.text)

    with ThreadPoolExecutor(DUPLICATES) as threads:
        answers = list(threads.map(submit, range(DUPLICATES)))

    [(status, job_id)] = set(answers)
    assert status == 201
    assert api.wait_until_finished(job_id)["status"] == "succeeded"
    assert len(api.call("GET", "/v1/predictions").json()["results"]) == 1
    assert simulator.get_stats()["predictions_by_job"][job_id] == 1
