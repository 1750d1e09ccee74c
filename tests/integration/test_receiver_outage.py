"""A receiver that is down for 75 hours gets all deliveries afterwards. The functions' clock is moved."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from replicate_proxy.webhooks.settings import DEFAULT_SCHEDULE_SECONDS
from tests.integration.api_client import ApiClient
from tests.integration.conftest import FOLDER
from tests.integration.receiver import run_receiver
from tools.local.servers import choose_port
from tools.local.stack import Stack
from tools.local.waiting import wait_for

MAX_JITTER = 1.2
ATTEMPT_TIMEOUT_SECONDS = 120.0
POLLS_PER_SWEEP = 10


class StackClock:
    """Moves the clock of all functions, and invokes the sweep, as EventBridge does every minute."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._offset_seconds = 0.0

    def advance(self, seconds: float) -> None:
        self._offset_seconds += seconds
        FOLDER.clock_offset_file.write_text(str(self._offset_seconds), encoding="utf-8")
        self.sweep()

    def sweep(self) -> None:
        """Invoke the sweep. It does nothing if another one is running, so call this repeatedly."""
        self._stack.get_client("lambda").invoke(
            FunctionName=self._stack.outputs["SweepFunctionName"], Payload=b"{}", InvocationType="Event"
        )

    def reset(self) -> None:
        """Restore the machine's time, and delete records and messages with times in the future."""
        FOLDER.clock_offset_file.unlink(missing_ok=True)
        dynamodb = self._stack.get_client("dynamodb")
        control_table = self._stack.outputs["ControlTableName"]  # circuit breaker and rate limits
        for item in dynamodb.scan(TableName=control_table)["Items"]:
            dynamodb.delete_item(TableName=control_table, Key={"pk": item["pk"]})
        self._stack.get_client("sqs").purge_queue(QueueUrl=self._stack.outputs["SweepDeadLetterQueueUrl"])


@pytest.fixture
def clock(stack: Stack) -> Iterator[StackClock]:
    clock = StackClock(stack)
    yield clock
    clock.reset()


def test_receiver_gets_all_deliveries_after_an_outage_of_75_hours(api: ApiClient, clock: StackClock) -> None:
    port = choose_port()
    url = f"http://127.0.0.1:{port}/hooks"
    job = api.wait_until_finished(api.create("local/lab", {"output": "worth waiting for"}, webhook=url)["id"])

    def list_attempts() -> list[dict[str, Any]]:
        response = api.call("GET", f"/v1/webhooks/attempts?prediction={job['id']}")
        attempts: list[dict[str, Any]] = response.json()["results"]
        return attempts

    def wait_for_attempts(count: int) -> None:
        polls = itertools.count()

        def has_attempts() -> bool | None:
            if next(polls) % POLLS_PER_SWEEP == 0:
                clock.sweep()
            return True if len(list_attempts()) >= count else None

        wait_for(has_attempts, timeout_seconds=ATTEMPT_TIMEOUT_SECONDS, description=f"attempt {count}")

    wait_for_attempts(1)
    for count, delay in enumerate(DEFAULT_SCHEDULE_SECONDS[1:-1], start=2):
        clock.advance(delay * MAX_JITTER)
        wait_for_attempts(count)
    assert all(attempt["status"] is None for attempt in list_attempts()), "the receiver was not down"

    with run_receiver(port=port) as receiver:
        clock.advance(DEFAULT_SCHEDULE_SECONDS[-1] * MAX_JITTER)
        requests = receiver.wait_for(lambda requests: len(requests) >= 2, "output and completed")

    assert [request.prediction["proxy"]["event"] for request in requests] == ["output", "completed"]
    assert {request.prediction["output"] for request in requests} == {"worth waiting for"}
