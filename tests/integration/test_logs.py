"""Logs hold ids, counts and reasons; what a run is about is in none of them."""

from __future__ import annotations

import base64
import json
import secrets
import time
from typing import TYPE_CHECKING, Any

import requests

from tests.integration.receiver import run_receiver
from tests.integration.wire import send_raw

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.api import ApiClient
    from tools.local.stack import Stack


def test_nothing_of_a_run_is_in_any_functions_log(stack: Stack, api: ApiClient) -> None:
    """Input, output, logs, error, file, webhook address, keys and secrets: planted, then looked for."""
    canary = {
        what: f"canary{what}{secrets.token_hex(8)}"
        for what in ("input", "output", "logs", "error", "file", "metadata", "address", "bad")
    }
    bearer = {"authorization": f"Bearer {api.key}"}
    form: dict[str, Any] = {
        "content": ("a.txt", canary["file"].encode(), "text/plain"),
        "metadata": (None, json.dumps({"note": canary["metadata"]})),
    }
    file = requests.post(f"{api.url}/v1/files", files=form, headers=bearer, timeout=60).json()
    secret = api.call("GET", "/v1/webhooks/default/secret").json()["key"]
    with run_receiver() as receiver:
        hook = {
            "webhook": f"{receiver.url}&token={canary['address']}",
            "webhook_events_filter": ["completed"],
        }
        given = {"output": canary["output"], "note": canary["input"], "logs": canary["logs"]}
        api.run("local/lab", {**given, "file": file["urls"]["get"]}, **hook)
        api.run("local/lab", {"status": "failed", "error": canary["error"], "note": canary["input"]}, **hook)
        receiver.wait_for(lambda calls: len(calls) >= 2, "both webhooks")
    for body in ({"version": canary["bad"], "input": {}}, {"version": "a/b", "input": canary["bad"]}):
        assert api.call("POST", "/v1/predictions", body).status_code == 422
    wrong = f"rp_aaaaaaaaaaaa_{secrets.token_hex(21)}0"
    assert send_raw(api.url, "GET", "/v1/predictions", wrong)[0] == 401

    root = stack.get_client("secretsmanager").get_secret_value(SecretId=stack.outputs["SigningSecretArn"])
    planted = {
        **canary,
        "API key": api.key.rpartition("_")[2],
        "wrong API key": wrong.rpartition("_")[2],
        "tenant's webhook secret": secret.removeprefix("whsec_"),
        "same, decoded": base64.b64decode(secret.removeprefix("whsec_")).hex(),
        "root secret": root["SecretString"],
        "file's address": file["urls"]["get"].partition("signature=")[2],
    }
    entries = list(_logged(stack))
    assert len(entries) > 50
    assert any(api.tenant in entry for entry in entries), "the logs of this very run are not there"
    found = {what: entry[:500] for what, text in planted.items() for entry in entries if text in entry}
    assert found == {}


def _logged(stack: Stack) -> Iterator[str]:
    logs = stack.get_client("logs")
    since = int((time.time() - 900) * 1000)
    for page in logs.get_paginator("describe_log_groups").paginate(logGroupNamePrefix="/aws/lambda/"):
        for group in page["logGroups"]:
            events = logs.get_paginator("filter_log_events")
            for found in events.paginate(logGroupName=group["logGroupName"], startTime=since):
                yield from (event["message"] for event in found["events"])
