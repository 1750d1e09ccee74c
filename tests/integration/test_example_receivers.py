"""The receivers in `examples/` get every event of an image job from the deployed stack."""

import json

import pytest

from tests.integration.api_client import ApiClient
from tests.support.example_receivers import LANGUAGES, run_receiver

EVENTS = ["start", "output", "completed"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_receiver_prints_every_event_of_a_job(api: ApiClient, language: str) -> None:
    secret = api.call("GET", "/v1/webhooks/default/secret").json()["key"]
    with run_receiver(language, secret) as (url, stdout):
        job = api.run(
            "black-forest-labs/flux-schnell",
            {"prompt": "a lighthouse", "latency": 1},
            webhook=url,
            webhook_events_filter=EVENTS,
        )
        lines = [json.loads(stdout.readline()) for _ in EVENTS]

    assert [(line["event"], line["id"]) for line in lines] == [(event, job["id"]) for event in EVENTS]
    assert lines[-1] == {key: job[key] for key in ("id", "status", "output")} | {"event": "completed"}
    assert job["status"] == "succeeded"
