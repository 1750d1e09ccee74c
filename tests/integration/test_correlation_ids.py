"""The logs of all functions that handle a job contain its correlation ID, and no inputs or keys."""

import json
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from tests.integration.api_client import ApiClient
from tests.integration.receiver import run_receiver
from tools.local.errors import LocalError
from tools.local.stack import Stack
from tools.local.waiting import wait_for

FUNCTIONS = ("ingest", "dispatch", "webhook", "track", "harvest", "deliver")
PROMPT = "a prompt that must not be in a log"


def _read_log(stack: Stack, function: str, since: datetime) -> Iterator[dict[str, Any]]:
    """Yield the structured log records of the function."""
    pages = stack.get_client("logs").get_paginator("filter_log_events")
    for page in pages.paginate(
        logGroupName=f"/aws/lambda/{stack.function_names[function]}", startTime=int(since.timestamp() * 1000)
    ):
        for event in page["events"]:
            for line in event["message"].splitlines():
                if line.startswith("{") and '"message"' in line:
                    yield json.loads(line)


def test_correlation_id_is_in_the_log_of_every_function(api: ApiClient, stack: Stack) -> None:
    correlation_id, since = f"order-{secrets.token_hex(8)}", datetime.now(UTC)
    with run_receiver() as receiver:
        job = api.create(
            "local/lab",
            {"output": "done", "prompt": PROMPT, "latency": 1},
            headers={"x-correlation-id": correlation_id},
            webhook=receiver.url,
            webhook_events_filter=["start", "completed"],
        )
        api.wait_until_finished(job["id"])
        receiver.wait_for(
            lambda requests: any(request.prediction["status"] == "succeeded" for request in requests),
            "the webhook",
        )

    missing = set(FUNCTIONS)

    def has_all() -> bool | None:
        for function in sorted(missing):
            records = _read_log(stack, function, since)
            if any(record.get("correlation_id") == correlation_id for record in records):
                missing.discard(function)
        return True if not missing else None

    try:
        wait_for(has_all, timeout_seconds=30, description="the log records")
    except LocalError:
        raise AssertionError(f"no log record with the correlation ID in: {sorted(missing)}") from None


def test_inputs_and_keys_are_in_no_log(api: ApiClient, stack: Stack) -> None:
    secret, since = f"secret-{secrets.token_hex(8)}", datetime.now(UTC)
    api.run("local/lab", {"output": secret, "prompt": secret})

    logged = set()
    for function in stack.function_names:
        for record in _read_log(stack, function, since):
            logged.add(function)
            text = json.dumps(record)
            assert secret not in text, function
            assert api.key not in text, function
    assert {"ingest", "dispatch"} <= logged
