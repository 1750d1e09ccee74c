"""The sweep function's handler: sweeps exclude each other, and none outlives its lease."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from moto import mock_aws

from functions.sweep import app
from replicate_proxy.aws.lease import Lease
from replicate_proxy.background_worker import start_worker
from replicate_proxy.errors import RetryableError
from replicate_proxy.services.sweep import SweepResult
from tests.support.aws import create_control_table
from tests.support.clock import NOW, FakeClock
from tests.support.control_table import build_control_table
from tests.support.handlers import LambdaContext

if TYPE_CHECKING:
    from collections.abc import Iterator

RESULT = {"jobs": {}, "deliveries": 0, "resumed": 3, "deletions": {"removed": 2}, "finished": True}


class SweepContext(LambdaContext):
    def get_remaining_time_in_millis(self) -> int:
        return 55_000


CONTEXT: Any = SweepContext()


class FakeSweep:
    """All parts of a sweep; `nested_responses` are those of handlers called while the jobs are checked."""

    def __init__(self) -> None:
        self.invokes_handler = False
        self.deadlines: list[datetime] = []
        self.deletion_deadlines: list[datetime] = []
        self.nested_responses: list[dict[str, Any]] = []
        self.bulk_operations: list[str] = []
        self.started_workers = 0
        self.start_error: Exception | None = None

    def start(self) -> None:
        self.started_workers += 1
        if self.start_error is not None:
            raise self.start_error

    def enqueue_due(self, now: datetime, until: datetime) -> int:
        return 0

    def run(self, deadline: datetime) -> int:
        assert deadline == NOW + timedelta(seconds=8)
        return 3

    def delete_jobs(self, deadline: datetime) -> dict[str, int]:
        self.deletion_deadlines.append(deadline)
        return {"removed": 2}

    def sweep_jobs(self, deadline: datetime) -> SweepResult:
        self.deadlines.append(deadline)
        if self.invokes_handler:
            self.nested_responses.append(app.lambda_handler({}, CONTEXT))
        return SweepResult({}, finished=True)


@pytest.fixture
def sweep(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSweep]:
    sweep, clock = FakeSweep(), FakeClock()
    with mock_aws():
        lease = Lease(build_control_table(create_control_table()), "sweep", clock)
        monkeypatch.setattr(app, "clock", clock)
        monkeypatch.setattr(app, "build_sweep_lease", lambda: lease)
        monkeypatch.setattr(app, "build_delivery_sweep", lambda: sweep)
        monkeypatch.setattr(app, "build_slot_repair", lambda: sweep)
        monkeypatch.setattr(app, "build_sweeper", lambda: sweep)
        monkeypatch.setattr(
            app, "start_workers", lambda: start_worker(sweep, has_work=lambda: bool(sweep.bulk_operations))
        )
        monkeypatch.setattr(app, "build_deletion_sweep", lambda: sweep)
        yield sweep


def test_sweep_during_another_one_is_skipped(sweep: FakeSweep) -> None:
    sweep.invokes_handler = True

    assert app.lambda_handler({}, CONTEXT) == RESULT
    assert sweep.nested_responses == [{"skipped": True}]


def test_next_sweep_runs_after_the_end_of_the_last(sweep: FakeSweep) -> None:
    assert [app.lambda_handler({}, CONTEXT) for _ in range(2)] == [RESULT, RESULT]
    assert sweep.deadlines == [NOW + timedelta(seconds=47)] * 2


def test_worker_of_bulk_operations_is_started_while_there_are_any(sweep: FakeSweep) -> None:
    assert app.lambda_handler({}, CONTEXT) == RESULT
    assert sweep.started_workers == 0

    sweep.bulk_operations = ["o1", "o2"]
    sweep.start_error = RetryableError("throttled")

    assert app.lambda_handler({}, CONTEXT) == RESULT
    assert sweep.started_workers == 1
