"""Metadata, search, progress, the state of the queue, and the document that describes them, as deployed."""

import json
import secrets
from datetime import datetime, timedelta
from typing import Any

import requests
import yaml

from replicate_proxy.clock import format_timestamp
from tests.integration.api_client import ApiClient
from tests.integration.held_predictions import hold_prediction
from tests.integration.receiver import run_receiver
from tools.local.paths import ROOT
from tools.local.stack import Stack
from tools.local.waiting import wait_for

BAR = "Using seed: 7\n 42%|████▏     | 21/50 [00:01<00:02, 20.5it/s]\n"


def test_predictions_are_found_by_what_their_creates_have_said(api: ApiClient) -> None:
    with run_receiver() as receiver:
        webhook = {"webhook": receiver.url, "webhook_events_filter": ["completed"]}
        headers = {"x-metadata": "order=42,user=7"}
        ended = api.run("local/lab", {"output": "a", "logs": BAR}, headers=headers, **webhook)
        (webhook_request,) = receiver.wait_for(lambda received: len(received) >= 1, "the webhook")
        assert webhook_request.prediction["proxy"]["metadata"] == {"order": "42", "user": "7"}
    failed = api.run("local/lab", {"status": "failed"}, headers={"x-metadata": "order=42"})
    entries = [{"version": "local/lab", "input": {"output": "b"}}] * 2
    batch = api.call("POST", "/v1/batches", {"predictions": entries}, headers={"x-metadata": "user=8"}).json()
    batched = [prediction["id"] for prediction in batch["predictions"]]
    for prediction_id in batched:
        api.wait_until_finished(prediction_id)

    assert ended["proxy"]["progress"] == {"percentage": 0.42, "current": 21, "total": 50}

    def find(query: str) -> list[str]:
        page = api.call("GET", f"/v1/predictions?{query}").json()
        assert page["next"] is None
        return [prediction["id"] for prediction in page["results"]]

    assert find("metadata.order=42") == [failed["id"], ended["id"]]
    assert find("metadata.order=42&metadata.user=7") == [ended["id"]]
    assert find("status=failed") == [failed["id"]]
    assert sorted(find(f"batch={batch['id']}")) == sorted(batched)
    assert sorted(find("metadata.user=8&status=succeeded&model=local/lab")) == sorted(batched)
    # The filter compares the time in the ID, which is some milliseconds before `created_at`.
    before = datetime.fromisoformat(ended["created_at"]) - timedelta(seconds=1)
    assert find(f"created_before={format_timestamp(before)}") == []
    assert len(find(f"created_after={format_timestamp(before)}")) == 2 + len(batched)
    assert api.call("GET", "/v1/predictions?order=42").status_code == 400


def test_status_shows_what_keeps_predictions_waiting(stack: Stack) -> None:
    operator = ApiClient(stack.api_url, stack.admin_key)
    api, held = hold_prediction(stack, operator, f"status-{secrets.token_hex(4)}")

    def read_status() -> dict[str, Any] | None:
        body: dict[str, Any] = api.call("GET", "/v1/status").json()
        return body if body["predictions"]["queued_for"] else None

    waiting = api.get(held)["proxy"]["waiting"]
    status = wait_for(read_status, timeout_seconds=60, description="the state of the queue")
    pause = {"mode": "hold", "tenant": api.tenant, "reason": "maintenance"}
    assert operator.call("POST", "/admin/pause", pause).status_code == 200
    paused = wait_for(
        lambda: api.call("GET", "/v1/status").json()["paused"]["predictions"],
        timeout_seconds=60,
        description="the pause",
    )

    assert (waiting["limit"], waiting["max_concurrency"], waiting["ahead"]) == ("tenant", 1, 0)
    assert status["predictions"]["queued_for"] == {"concurrency_limit": 1}
    assert status["predictions"]["unfinished"]["queued"] == 1
    assert status["predictions"]["oldest_queued_at"] == api.get(held)["created_at"]
    assert status["concurrency"] == {"max_concurrency": 1, "in_use": 1, "in_line": 1}
    assert status["replicate"]["circuit_breaker"]["state"] == "closed"
    assert (paused["mode"], paused["reason"]) == ("hold", "maintenance")
    assert operator.call("POST", "/admin/resume", {"tenant": api.tenant}).status_code == 200


def test_document_is_served_to_everyone_and_only_once(stack: Stack) -> None:
    url = f"{stack.api_url}/openapi.json"
    first = requests.get(url, timeout=60)
    repeated = requests.get(url, headers={"if-none-match": first.headers["etag"]}, timeout=60)

    source = yaml.safe_load((ROOT / "docs/openapi.yaml").read_text(encoding="utf-8"))
    assert (first.status_code, json.loads(first.text)) == (200, source)
    assert (repeated.status_code, repeated.content) == (304, b"")
