"""Replicate in trouble: no accepted job is lost, none is paid twice, whatever breaks.

All troubled jobs start together, each of a tenant of its own that its faults are aimed at, so that the
patience they need is waited for once.
"""

import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest
import requests

from tests.integration.api import ApiClient
from tools.local.keys import KeyIssuer
from tools.local.stack import Stack
from tools.simulator.client import SimulatorClient

SECONDS = 150.0
LOSE = {"endpoint": "webhook", "kind": "lose"}
DEAD = "Your card was declined."


def create_fault(kind: str, **details: Any) -> dict[str, Any]:
    return {"endpoint": "create", "kind": kind, "times": 1, **details}


def webhook_fault(kind: str, **details: Any) -> dict[str, Any]:
    return {"endpoint": "webhook", "kind": kind, **details}


def download_fault(kind: str, **details: Any) -> dict[str, Any]:
    return {"endpoint": "download", "kind": kind, "times": 1, **details}


# How Replicate misbehaves -> the rules that make it so. Each job must succeed by exactly one prediction.
SURVIVED: dict[str, list[dict[str, Any]]] = {
    "every webhook is lost": [LOSE],
    "webhooks come twice": [webhook_fault("duplicate", copies=3)],
    "webhooks come in the wrong order": [webhook_fault("reorder", event="start")],
    "forged webhooks come first": [webhook_fault("forge")],
    "the last webhook comes late": [webhook_fault("delay", event="completed", seconds=3)],
    "throttled with a time to wait": [create_fault("status", status=429, retry_after=2)],
    "throttled without a time to wait": [create_fault("status", status=429)],
    "connection reset after the request was taken": [create_fault("reset_after_accept")],
    "connection reset after the request was taken, webhooks lost": [create_fault("reset_after_accept"), LOSE],
    "connection reset before the request was taken": [create_fault("reset_before_accept")],
    "503 though the request was taken, webhooks lost": [
        create_fault("status_after_accept", status=503),
        LOSE,
    ],
    "500 and the request was not taken": [create_fault("status", status=500)],
    "half an answer to a taken request, webhooks lost": [create_fault("truncated"), LOSE],
    "output fails to download at first": [download_fault("status", status=503)],
    "download breaks off in the middle": [download_fault("truncated")],
}
# Replicate's refusal -> (rule, the job's error).
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no billing": (create_fault("status", status=402), "You need to set up billing to run this model."),
    "own words of a 402": (create_fault("status", status=402, detail=DEAD), f"Billing required: {DEAD}"),
    "invalid input": (create_fault("status", status=422, detail="- no such prompt"), "- no such prompt"),
}


@dataclass(frozen=True)
class Trouble:
    """The jobs under way, by what troubles them."""

    jobs: dict[str, tuple[ApiClient, str]] = field(default_factory=dict)

    def ended(self, what: str) -> dict[str, Any]:
        api, job_id = self.jobs[what]
        return api.wait_until_finished(job_id, timeout_seconds=SECONDS)


@pytest.fixture(scope="module")
def replicate(stack: Stack) -> Iterator[SimulatorClient]:
    remote = SimulatorClient(url=stack.simulator_url)
    yield remote
    remote.call_control_api("DELETE", "faults")


@pytest.fixture(scope="module")
def trouble(stack: Stack, replicate: SimulatorClient) -> Trouble:
    keyring = KeyIssuer(stack.endpoint_url, stack.outputs)
    rules_of = SURVIVED | {what: [rule] for what, (rule, _) in REFUSED.items()}

    def start(what: str) -> tuple[ApiClient, str]:
        tenant = f"trouble-{secrets.token_hex(4)}"
        api = ApiClient(stack.api_url, keyring.create_key(tenant, name="integration test"), tenant)
        replicate.call_control_api(
            "POST", "faults", [{**rule, "contains": tenant} for rule in rules_of[what]]
        )
        output = {"what": what, "file": {"$file": "png", "width": 64, "height": 64, "name": f"{tenant}.png"}}
        return api, api.create("local/lab", {"output": output})["id"]

    with ThreadPoolExecutor(2) as threads:
        return Trouble(dict(zip(rules_of, threads.map(start, rules_of), strict=True)))


@pytest.mark.parametrize("what", SURVIVED)
def test_job_succeeds_by_exactly_one_prediction(
    trouble: Trouble, replicate: SimulatorClient, what: str
) -> None:
    done = trouble.ended(what)

    assert done["status"] == "succeeded", done["error"]
    assert done["output"]["what"] == what
    assert requests.get(done["output"]["file"], timeout=30).status_code == 200
    assert replicate.get_stats()["predictions_by_job"][done["id"]] == 1


@pytest.mark.parametrize("what", [what for what, rules in SURVIVED.items() if LOSE in rules])
def test_lost_webhooks_are_made_good_by_polling(trouble: Trouble, what: str) -> None:
    assert trouble.ended(what)["proxy"]["report_channel"] == "poll"


@pytest.mark.parametrize("what", REFUSED)
def test_refusal_fails_the_job_with_replicates_words(
    trouble: Trouble, replicate: SimulatorClient, what: str
) -> None:
    failed = trouble.ended(what)

    assert failed["status"] == "failed"
    assert REFUSED[what][1] in failed["error"]
    assert failed["id"] not in replicate.get_stats()["predictions_by_job"]


def test_faults_really_happened(trouble: Trouble, replicate: SimulatorClient) -> None:
    for what in trouble.jobs:
        trouble.ended(what)

    rules = replicate.call_control_api("GET", "faults")["rules"]
    assert [rule for rule in rules if rule["fired"] == 0] == []
