"""Concurrency limits on the deployed stack: jobs are held, in order, and go as soon as there is a slot."""

from __future__ import annotations

import os
import secrets
import sys
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.api_client import ApiClient
from tools.local.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import requests

    from tools.simulator.client import SimulatorClient

LAB = "local/lab"
SLOW = {"output": "done", "startup": 0, "latency": 1.5}
HELD = {"output": "done", "hold": True}
# Functions read limits again after ten seconds.
CACHE_SECONDS = 11
BATCH_SIZE = 25
MAX_CONCURRENCY = 5
# Long enough for a busy machine, where functions start slowly.
TIMEOUT_SECONDS = 180
# `make fairness` sets 500, and then the longest delay that is allowed on an idle machine.
JOBS_BEHIND = int(os.environ.get("FAIRNESS_JOBS", "25"))
MAX_DELAY_SECONDS = float(os.environ.get("FAIRNESS_SECONDS", "15"))


@pytest.fixture
def limit(api: ApiClient, operator: ApiClient) -> Iterator[Callable[[int], None]]:
    """limit(2) limits the tenant of `api`."""
    path = f"/admin/tenants/{api.tenant}/concurrency"

    def set_limit(number: int) -> None:
        response = operator.call("PUT", path, {"max_concurrency": number})
        assert response.status_code == 200, response.text

    yield set_limit
    operator.call("DELETE", path)


def create_batch(api: ApiClient, entries: Sequence[dict[str, Any]]) -> requests.Response:
    """Create a batch; repeat what a busy machine did not answer."""
    headers = {"idempotency-key": secrets.token_hex(8)}
    for _ in range(10):
        response = api.call("POST", "/v1/batches", {"predictions": entries}, headers=headers)
        if response.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
            break
    assert response.status_code == HTTPStatus.CREATED, response.text
    return response


def wait_for_caches() -> None:
    """Wait until no function has limits in its cache from before a change."""
    time.sleep(CACHE_SECONDS)


def create_all(api: ApiClient, model_input: dict[str, Any], count: int) -> list[str]:
    return [api.create(LAB, model_input)["id"] for _ in range(count)]


def find_runs(simulator: SimulatorClient, job_ids: Sequence[str]) -> list[tuple[float, float]]:
    """Return when Replicate created and completed the prediction of each job."""
    runs = []
    for job_id in job_ids:
        (prediction,) = simulator.find_predictions(job_id)
        runs.append((prediction["created_at"], prediction["completed_at"]))
    return runs


def count_most_at_once(runs: Sequence[tuple[float, float]]) -> int:
    return max(sum(start <= moment < end for start, end in runs) for moment, _ in runs)


def wait_for_status(api: ApiClient, job_id: str, *statuses: str) -> dict[str, Any]:
    def find() -> dict[str, Any] | None:
        prediction = api.get(job_id)
        return prediction if prediction["proxy"]["status"] in statuses else None

    return wait_for(find, timeout_seconds=TIMEOUT_SECONDS, description=f"{job_id} to be {statuses}")


def wait_until_held(api: ApiClient, job_id: str) -> dict[str, Any]:
    def find() -> dict[str, Any] | None:
        waiting: dict[str, Any] = api.get(job_id)["proxy"].get("waiting", {})
        return waiting if waiting.get("reason") == "concurrency_limit" else None

    return wait_for(find, timeout_seconds=TIMEOUT_SECONDS, description=f"{job_id} to be held")


def read_line(operator: ApiClient, api: ApiClient) -> dict[str, Any]:
    """Return the limit of the tenant of `api`, the slots that are in use, and the jobs that wait."""
    state: dict[str, Any] = operator.call("GET", f"/admin/tenants/{api.tenant}/concurrency").json()
    return state


def complete(simulator: SimulatorClient, job_id: str) -> None:
    """Complete the held prediction of a job once it runs."""
    (prediction,) = simulator.find_predictions(job_id)
    wait_for(
        lambda: simulator.get_timeline(prediction["id"])["started_at"] is not None,
        timeout_seconds=TIMEOUT_SECONDS,
        description="the prediction to start",
    )
    simulator.complete_prediction(prediction["id"])


def test_jobs_of_limited_tenant_run_two_at_a_time(
    api: ApiClient, limit: Callable[[int], None], simulator: SimulatorClient
) -> None:
    limit(2)
    wait_for_caches()
    blocking = create_all(api, HELD, 2)
    for job_id in blocking:
        wait_for_status(api, job_id, "submitted", "processing")
    job_ids = create_all(api, SLOW, 4)
    for job_id in job_ids:
        wait_until_held(api, job_id)

    for job_id in blocking:
        complete(simulator, job_id)
    finished = [
        api.wait_until_finished(job_id, timeout_seconds=TIMEOUT_SECONDS) for job_id in (*blocking, *job_ids)
    ]

    assert {prediction["status"] for prediction in finished} == {"succeeded"}
    assert count_most_at_once(find_runs(simulator, [*blocking, *job_ids])) == 2


@pytest.mark.slow
def test_held_jobs_are_canceled_and_released(
    api: ApiClient, operator: ApiClient, limit: Callable[[int], None], simulator: SimulatorClient
) -> None:
    limit(1)
    wait_for_caches()
    job_ids = create_all(api, HELD, 5)
    wait_for_status(api, job_ids[0], "submitted", "processing")
    waiting = [wait_until_held(api, job_id) for job_id in job_ids[1:]]
    assert waiting[-1] == {
        "reason": "concurrency_limit",
        "limit": "tenant",
        "max_concurrency": 1,
        "ahead": 3,
    }
    assert read_line(operator, api) == {
        "name": f"tenant/{api.tenant}",
        "max_concurrency": 1,
        "in_use": 1,
        "waiting": 4,
    }

    # A canceled one ends at once, and the others keep waiting.
    canceled = api.call("POST", f"/v1/predictions/{job_ids[1]}/cancel")
    assert canceled.json()["status"] == "canceled"
    wait_for(
        lambda: api.get(job_ids[2])["proxy"]["waiting"]["ahead"] == 0,
        timeout_seconds=30,
        description="the canceled job to leave the line",
    )

    # With a higher limit, the next one in line goes at once.
    limit(2)
    wait_for_status(api, job_ids[2], "submitted", "processing")
    assert api.get(job_ids[3])["proxy"]["status"] == "queued"

    # Without a limit, all of them go; functions that still know the limit leave them to the sweep.
    operator.call("DELETE", f"/admin/tenants/{api.tenant}/concurrency")
    for job_id in job_ids[3:]:
        wait_for_status(api, job_id, "submitted", "processing")
    for job_id in (job_ids[0], *job_ids[2:]):
        complete(simulator, job_id)
        assert api.wait_until_finished(job_id)["status"] == "succeeded"


def test_limit_of_a_model_holds_across_tenants(
    make_api: Callable[[], ApiClient], operator: ApiClient, simulator: SimulatorClient
) -> None:
    path, alias = "/admin/models/team/scarce", "team/scarce"
    entry = {"target": LAB, "max_concurrency": 1}
    assert operator.call("PUT", path, entry).status_code == 200
    try:
        wait_for_caches()
        clients = [make_api(), make_api()]
        jobs = [(api, api.create(alias, SLOW)["id"]) for api in clients for _ in range(2)]

        finished = [api.wait_until_finished(job_id, timeout_seconds=TIMEOUT_SECONDS) for api, job_id in jobs]

        assert {prediction["status"] for prediction in finished} == {"succeeded"}
        assert count_most_at_once(find_runs(simulator, [job_id for _, job_id in jobs])) == 1
    finally:
        assert operator.call("DELETE", path).status_code == 204


@pytest.mark.slow
def test_job_of_another_tenant_does_not_wait_for_those_of_a_limited_one(
    api: ApiClient, operator: ApiClient, make_api: Callable[[], ApiClient], limit: Callable[[int], None]
) -> None:
    other = make_api()
    limit(MAX_CONCURRENCY)
    wait_for_caches()
    alone = _measure_seconds_to_replicate(other)
    job_ids: list[str] = []
    while len(job_ids) < JOBS_BEHIND:
        entries = [{"version": LAB, "input": HELD}] * min(JOBS_BEHIND - len(job_ids), BATCH_SIZE)
        response = create_batch(api, entries)
        job_ids += [prediction["id"] for prediction in response.json()["predictions"]]

    # SQS on the local stack has no fair queues: what is not in line yet is ahead of the other job.
    wait_for(
        lambda: read_line(operator, api)["waiting"] == JOBS_BEHIND - MAX_CONCURRENCY,
        timeout_seconds=TIMEOUT_SECONDS + JOBS_BEHIND,
        description="all other jobs to wait in line",
    )

    delay = _measure_seconds_to_replicate(other) - alone

    sys.stderr.write(f"delayed by {delay:.2f} s behind {JOBS_BEHIND} jobs, {alone:.2f} s alone\n")
    assert delay <= MAX_DELAY_SECONDS
    line = read_line(operator, api)
    assert (line["in_use"], line["waiting"]) == (MAX_CONCURRENCY, JOBS_BEHIND - MAX_CONCURRENCY)
    for job_id in reversed(job_ids):
        assert api.call("POST", f"/v1/predictions/{job_id}/cancel").status_code == 200


def _measure_seconds_to_replicate(api: ApiClient) -> float:
    """Return how long a job waits until its prediction is created."""
    finished = api.wait_until_finished(api.create(LAB, {"output": 1, "latency": 0, "startup": 0})["id"])
    times = finished["proxy"]["timeline"]
    return _seconds(times["submitted"]) - _seconds(times["accepted"])


def _seconds(timestamp: str) -> float:
    return time.mktime(time.strptime(timestamp[:19], "%Y-%m-%dT%H:%M:%S")) + float(timestamp[19:23])
