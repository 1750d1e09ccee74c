"""Logs contain IDs, counts and reasons, but no contents, addresses or secrets."""

from __future__ import annotations

import base64
import json
import secrets
import time
from typing import TYPE_CHECKING, Any

import requests

from tests.integration.api_client import ApiClient
from tests.integration.raw_http import send_raw
from tests.integration.receiver import run_receiver

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.local.stack import Stack
    from tools.simulator.client import SimulatorClient

_OWN_SECRET = "whsec_bG9nLXByaXZhY3ktc2VjcmV0LWxvZy1wcml2YWN5"
_ACCOUNTS_CACHE_SECONDS = 11.0


def test_no_log_contains_contents_addresses_or_secrets(
    stack: Stack, api: ApiClient, simulator: SimulatorClient
) -> None:
    """Send requests with unique texts in many places, then search for the texts in all logs."""
    own_token, rejected_token = (f"r8_{secrets.token_hex(16)}" for _ in range(2))
    account = {"username": "log-privacy", "token": own_token, "webhook_secret": _OWN_SECRET}
    simulator.change_settings(accounts=[account])
    operator = ApiClient(stack.api_url, stack.admin_key)
    path = f"/admin/tenants/{api.tenant}/replicate-token"
    assert operator.call("PUT", path, {"token": rejected_token}).status_code == 422
    assert operator.call("PUT", path, {"token": own_token}).status_code == 200
    time.sleep(_ACCOUNTS_CACHE_SECONDS)
    texts = {
        name: f"canary{name}{secrets.token_hex(8)}"
        for name in ("input", "output", "logs", "error", "file", "metadata", "url", "invalid")
    }
    headers = {"authorization": f"Bearer {api.key}"}
    form: dict[str, Any] = {
        "content": ("a.txt", texts["file"].encode(), "text/plain"),
        "metadata": (None, json.dumps({"note": texts["metadata"]})),
    }
    file = requests.post(f"{api.url}/v1/files", files=form, headers=headers, timeout=60).json()
    webhook_secret = api.call("GET", "/v1/webhooks/default/secret").json()["key"]
    with run_receiver() as receiver:
        webhook = {
            "webhook": f"{receiver.url}&token={texts['url']}",
            "webhook_events_filter": ["completed"],
        }
        succeeding = {"output": texts["output"], "note": texts["input"], "logs": texts["logs"]}
        failing = {"status": "failed", "error": texts["error"], "note": texts["input"]}
        pairs = {"x-metadata": f"note={texts['metadata']}"}
        api.run("local/lab", {**succeeding, "file": file["urls"]["get"]}, headers=pairs, **webhook)
        api.run("local/lab", failing, **webhook)
        assert api.call("GET", f"/v1/predictions?metadata.note={texts['metadata']}").json()["results"]
        receiver.wait_for(lambda received: len(received) >= 2, "both webhooks")
    for body in ({"version": texts["invalid"], "input": {}}, {"version": "a/b", "input": texts["invalid"]}):
        assert api.call("POST", "/v1/predictions", body).status_code == 422
    unknown_key = f"rp_aaaaaaaaaaaa_{secrets.token_hex(21)}0"
    assert send_raw(api.url, "GET", "/v1/predictions", unknown_key)[0] == 401

    root_secret = stack.get_client("secretsmanager").get_secret_value(
        SecretId=stack.outputs["SigningSecretArn"]
    )
    forbidden = {
        **texts,
        "API key": api.key.rpartition("_")[2],
        "unknown API key": unknown_key.rpartition("_")[2],
        "webhook secret": webhook_secret.removeprefix("whsec_"),
        "decoded webhook secret": base64.b64decode(webhook_secret.removeprefix("whsec_")).hex(),
        "root secret": root_secret["SecretString"],
        "token of the tenant": own_token,
        "rejected token": rejected_token,
        "webhook secret of the tenant": _OWN_SECRET.removeprefix("whsec_"),
        "signature of the file's URL": file["urls"]["get"].partition("signature=")[2],
    }
    entries = list(_read_logs(stack))
    assert len(entries) > 50
    assert any(api.tenant in entry for entry in entries), "the logs of this test are missing"
    found = {name: entry[:500] for name, text in forbidden.items() for entry in entries if text in entry}
    assert found == {}


def _read_logs(stack: Stack) -> Iterator[str]:
    """Yield all log entries of the last 15 minutes."""
    logs = stack.get_client("logs")
    start_time_ms = int((time.time() - 900) * 1000)
    for page in logs.get_paginator("describe_log_groups").paginate(logGroupNamePrefix="/aws/lambda/"):
        for group in page["logGroups"]:
            pages = logs.get_paginator("filter_log_events").paginate(
                logGroupName=group["logGroupName"], startTime=start_time_ms
            )
            for events in pages:
                yield from (event["message"] for event in events["events"])
