"""With any fault of Replicate, no accepted job is lost and none creates a second prediction.

All jobs are created together and the tests wait for their ends, so that timeouts elapse only once. Each job
has its own tenant, which the conditions of its faults name.
"""

import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from tests.integration.api_client import ApiClient
from tools.local.keys import KeyIssuer
from tools.local.stack import Stack
from tools.simulator.client import SimulatorClient

JOB_TIMEOUT_SECONDS = 150.0
LOSE_WEBHOOKS = {"endpoint": "webhook", "kind": "lose"}
CARD_DECLINED = "Your card was declined."

type FaultyJobs = dict[str, tuple[ApiClient, str]]
"""(client of the tenant, job ID) by the name of the faults."""


def _create_fault(kind: str, **details: Any) -> dict[str, Any]:
    return {"endpoint": "create", "kind": kind, "times": 1, **details}


def _webhook_fault(kind: str, **details: Any) -> dict[str, Any]:
    return {"endpoint": "webhook", "kind": kind, **details}


def _download_fault(kind: str, **details: Any) -> dict[str, Any]:
    return {"endpoint": "download", "kind": kind, "times": 1, **details}


RECOVERABLE_FAULTS: dict[str, list[dict[str, Any]]] = {
    "webhooks lost": [LOSE_WEBHOOKS],
    "webhooks duplicated": [_webhook_fault("duplicate", copies=3)],
    "webhooks out of order": [_webhook_fault("reorder", event="start")],
    "forged webhooks first": [_webhook_fault("forge")],
    "last webhook late": [_webhook_fault("delay", event="completed", seconds=3)],
    "throttled with Retry-After": [_create_fault("status", status=429, retry_after=2)],
    "throttled without Retry-After": [_create_fault("status", status=429)],
    "connection reset after create": [_create_fault("reset_after_accept")],
    "connection reset after create, webhooks lost": [_create_fault("reset_after_accept"), LOSE_WEBHOOKS],
    "connection reset before create": [_create_fault("reset_before_accept")],
    "503 after create, webhooks lost": [_create_fault("status_after_accept", status=503), LOSE_WEBHOOKS],
    "500 instead of create": [_create_fault("status", status=500)],
    "truncated response to create, webhooks lost": [_create_fault("truncated"), LOSE_WEBHOOKS],
    "first download 503": [_download_fault("status", status=503)],
    "first download truncated": [_download_fault("truncated")],
}
"""Faults after which the job succeeds with one prediction."""

REJECTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "no billing": (_create_fault("status", status=402), "You need to set up billing to run this model."),
    "402 with message": (
        _create_fault("status", status=402, detail=CARD_DECLINED),
        f"Billing required: {CARD_DECLINED}",
    ),
    "invalid input": (_create_fault("status", status=422, detail="- no such prompt"), "- no such prompt"),
}
"""(fault, error of the job) for faults after which the job fails."""


@pytest.fixture(scope="module")
def simulator_client(stack: Stack) -> Iterator[SimulatorClient]:
    """A client whose faults are deleted after all tests of the module."""
    client = SimulatorClient(url=stack.simulator_url)
    yield client
    client.call_control_api("DELETE", "faults")


@pytest.fixture(scope="module")
def jobs(stack: Stack, simulator_client: SimulatorClient) -> FaultyJobs:
    """A running job for each set of faults."""
    issuer = KeyIssuer(stack.endpoint_url, stack.outputs)
    faults_by_name = RECOVERABLE_FAULTS | {name: [fault] for name, (fault, _) in REJECTIONS.items()}

    def create_job(name: str) -> tuple[ApiClient, str]:
        tenant = f"faults-{secrets.token_hex(4)}"
        api = ApiClient(stack.api_url, issuer.create_key(tenant, name="integration test"), tenant)
        faults = [{**fault, "contains": tenant} for fault in faults_by_name[name]]
        simulator_client.call_control_api("POST", "faults", faults)
        file = {"$file": "png", "width": 64, "height": 64, "name": f"{tenant}.png"}
        # The start is reported only to subscribers.
        events = ["start", "completed"]
        job = api.create("local/lab", {"output": {"name": name, "file": file}}, webhook_events_filter=events)
        return api, job["id"]

    with ThreadPoolExecutor(2) as threads:
        return dict(zip(faults_by_name, threads.map(create_job, faults_by_name), strict=True))


def _wait_until_finished(jobs: FaultyJobs, name: str) -> dict[str, Any]:
    api, job_id = jobs[name]
    return api.wait_until_finished(job_id, timeout_seconds=JOB_TIMEOUT_SECONDS)


@pytest.mark.parametrize("name", RECOVERABLE_FAULTS)
def test_job_succeeds_with_one_prediction(
    jobs: FaultyJobs, simulator_client: SimulatorClient, name: str
) -> None:
    job = _wait_until_finished(jobs, name)

    assert job["status"] == "succeeded", job["error"]
    assert job["output"]["name"] == name
    assert requests.get(job["output"]["file"], timeout=30).status_code == 200
    assert simulator_client.get_stats()["predictions_by_job"][job["id"]] == 1


@pytest.mark.parametrize(
    "name", [name for name, faults in RECOVERABLE_FAULTS.items() if LOSE_WEBHOOKS in faults]
)
def test_completion_is_polled_when_webhooks_are_lost(jobs: FaultyJobs, name: str) -> None:
    assert _wait_until_finished(jobs, name)["proxy"]["report_channel"] == "poll"


@pytest.mark.parametrize("name", REJECTIONS)
def test_job_fails_with_replicates_message_when_create_is_rejected(
    jobs: FaultyJobs, simulator_client: SimulatorClient, name: str
) -> None:
    job = _wait_until_finished(jobs, name)

    assert job["status"] == "failed"
    assert REJECTIONS[name][1] in job["error"]
    assert job["id"] not in simulator_client.get_stats()["predictions_by_job"]


def test_every_fault_was_injected(jobs: FaultyJobs, simulator_client: SimulatorClient) -> None:
    for name in jobs:
        _wait_until_finished(jobs, name)

    rules = simulator_client.call_control_api("GET", "faults")["rules"]
    assert [rule for rule in rules if rule["fired"] == 0] == []
