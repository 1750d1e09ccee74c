"""An application that is down for three days gets everything on its return; the functions' clock moves."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from replicate_proxy.webhooks.retry_policy import DEFAULT_SCHEDULE_SECONDS
from tests.integration.api import ApiClient
from tests.integration.conftest import FOLDER
from tests.integration.receiver import run_receiver
from tools.local import waiting
from tools.local.servers import choose_port
from tools.local.stack import Stack

LONGEST_JITTER = 1.2
ATTEMPT_SECONDS = 120.0
LOOKS_A_SWEEP = 10


class StackClock:
    """Moves all functions of the stack at once, then sweeps, as EventBridge would each minute."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._ahead = 0.0

    def advance(self, seconds: float) -> None:
        self._ahead += seconds
        FOLDER.clock_offset_file.write_text(str(self._ahead), encoding="utf-8")
        self.sweep()

    def sweep(self) -> None:
        """A pass; where one is under way still, this one is refused and the next call tries again."""
        name = self._stack.outputs["SweepFunctionName"]
        self._stack.get_client("lambda").invoke(FunctionName=name, Payload=b"{}", InvocationType="Event")

    def put_right(self) -> None:
        """The machine's time again, and nothing left of the time that never was."""
        FOLDER.clock_offset_file.unlink(missing_ok=True)
        # Breaker and rate limits remember times that now lie in the future.
        table, dynamodb = self._stack.outputs["ControlTableName"], self._stack.get_client("dynamodb")
        for item in dynamodb.scan(TableName=table)["Items"]:
            dynamodb.delete_item(TableName=table, Key={"pk": item["pk"]})
        self._stack.get_client("sqs").purge_queue(QueueUrl=self._stack.outputs["SweepDeadLetterQueueUrl"])


@pytest.fixture
def clock(stack: Stack) -> Iterator[StackClock]:
    moving = StackClock(stack)
    yield moving
    moving.put_right()


def test_receiver_down_for_75_hours_gets_everything_on_its_return(api: ApiClient, clock: StackClock) -> None:
    port = choose_port()
    url = f"http://127.0.0.1:{port}/hooks"
    job = api.wait_until_finished(api.create("local/lab", {"output": "worth waiting for"}, webhook=url)["id"])

    def attempts() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = api.call("GET", f"/v1/webhooks/attempts?prediction={job['id']}").json()[
            "results"
        ]
        return found

    def tried(times: int) -> None:
        looks = itertools.count()

        def enough() -> bool | None:
            if next(looks) % LOOKS_A_SWEEP == 0:
                clock.sweep()
            return True if len(attempts()) >= times else None

        waiting.wait_for(enough, timeout_seconds=ATTEMPT_SECONDS, description=f"attempt {times}")

    tried(1)
    for times, pause in enumerate(DEFAULT_SCHEDULE_SECONDS[1:-1], start=2):
        clock.advance(pause * LONGEST_JITTER)
        tried(times)
    assert all(attempt["status"] is None for attempt in attempts()), "nobody was there to answer"

    with run_receiver(port=port) as application:
        clock.advance(DEFAULT_SCHEDULE_SECONDS[-1] * LONGEST_JITTER)
        calls = application.wait_for(lambda calls: len(calls) >= 2, "output and completed")

    assert [call.prediction["proxy"]["event"] for call in calls] == ["output", "completed"]
    assert {call.prediction["output"] for call in calls} == {"worth waiting for"}
