"""Moves the clock of the deployed functions."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from tests.integration.conftest import FOLDER
from tools.local.stack import Stack


class StackClock:
    """Moves the clock of all functions, and invokes the sweep, as EventBridge does every minute."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._offset_seconds = 0.0

    def advance(self, seconds: float) -> None:
        self._offset_seconds += seconds
        FOLDER.clock_offset_file.write_text(str(self._offset_seconds), encoding="utf-8")
        self.sweep()

    def advance_to(self, moment: datetime) -> None:
        """Move the clock to the moment if that is in the future, and invoke the sweep in any case.

        What runs at the same time takes the jump for the end of its time.
        """
        now = datetime.now(UTC) + timedelta(seconds=self._offset_seconds)
        self.advance(max(0.0, (moment - now).total_seconds()))

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


@pytest.fixture(name="clock")
def run_clock(stack: Stack) -> Iterator[StackClock]:
    clock = StackClock(stack)
    yield clock
    clock.reset()
