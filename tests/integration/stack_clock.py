"""Moves the clock of the deployed functions."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from tests.integration.conftest import FOLDER
from tools.local.stack import Stack
from tools.local.waiting import wait_for

_SWEEP_SECONDS = 90.0


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

        A sweep that runs is awaited: it would take the jump for the end of its time.
        """
        seconds = (moment - self._now()).total_seconds()
        if seconds <= 0:
            self.sweep()
            return
        wait_for(self._is_sweep_free, timeout_seconds=_SWEEP_SECONDS, description="the end of the sweep")
        self.advance(seconds)

    def _restart_functions(self) -> None:
        """Have the next invocations run in new environments, as after every change of the configuration."""
        lambdas = self._stack.get_client("lambda")
        for name in self._stack.function_names.values():
            variables = lambdas.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
            variables["RESTARTED_AT"] = datetime.now(UTC).isoformat()
            lambdas.update_function_configuration(FunctionName=name, Environment={"Variables": variables})

    def _is_sweep_free(self) -> bool:
        lease = self._stack.get_client("dynamodb").get_item(
            TableName=self._stack.outputs["ControlTableName"], Key={"pk": {"S": "LEASE#sweep"}}
        )
        held_until = lease.get("Item", {}).get("held_until", {"N": "0"})["N"]
        return int(held_until) <= self._now().timestamp() * 1000

    def _now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self._offset_seconds)

    def sweep(self) -> None:
        """Invoke the sweep. It does nothing if another one is running, so call this repeatedly."""
        self._stack.get_client("lambda").invoke(
            FunctionName=self._stack.outputs["SweepFunctionName"], Payload=b"{}", InvocationType="Event"
        )

    def reset(self) -> None:
        """Restore the machine's time, and delete what has times in the future: records, messages, caches."""
        FOLDER.clock_offset_file.unlink(missing_ok=True)
        self._restart_functions()
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
