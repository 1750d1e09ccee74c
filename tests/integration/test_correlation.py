"""One correlation id leads through the logs of every function that a job meets."""

import json
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from tests.integration.api import ApiClient
from tests.integration.receiver import run_receiver
from tools.local import waiting
from tools.local.errors import LocalError
from tools.local.stack import Stack

HOPS = ("ingest", "dispatch", "webhook", "track", "harvest", "deliver")
PROMPT = "a prompt that nobody may read in a log"


def records(stack: Stack, function: str, since: datetime) -> Iterator[dict[str, Any]]:
    """The function's structured log records."""
    group, start = f"/aws/lambda/{stack.function_names[function]}", int(since.timestamp() * 1000)
    pages = stack.get_client("logs").get_paginator("filter_log_events")
    for page in pages.paginate(logGroupName=group, startTime=start):
        for event in page["events"]:
            for line in event["message"].splitlines():
                if line.startswith("{") and '"message"' in line:
                    yield json.loads(line)


def test_correlation_id_is_in_the_log_of_every_hop(api: ApiClient, stack: Stack) -> None:
    correlation, since = f"order-{secrets.token_hex(8)}", datetime.now(UTC)
    with run_receiver() as application:
        created = api.create(
            "local/lab",
            {"output": "done", "prompt": PROMPT, "latency": 1},
            headers={"x-correlation-id": correlation},
            webhook=application.url,
        )
        api.wait_until_finished(created["id"])
        application.wait_for(
            lambda calls: any(call.prediction["status"] == "succeeded" for call in calls), "webhook"
        )

    missing = set(HOPS)

    def all_told() -> bool | None:
        for hop in sorted(missing):
            if any(record.get("correlation_id") == correlation for record in records(stack, hop, since)):
                missing.discard(hop)
        return True if not missing else None

    try:
        waiting.wait_for(all_told, timeout_seconds=30, description="log records")
    except LocalError:
        raise AssertionError(f"no log record with the correlation id in: {sorted(missing)}") from None


def test_inputs_and_keys_are_in_no_log(api: ApiClient, stack: Stack) -> None:
    secret, since = f"secret-{secrets.token_hex(8)}", datetime.now(UTC)
    api.run("local/lab", {"output": secret, "prompt": secret})

    for hop in stack.function_names:
        for record in records(stack, hop, since):
            text = json.dumps(record)
            assert secret not in text, hop
            assert api.key not in text, hop
