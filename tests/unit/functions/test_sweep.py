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


class BusySweep(FakeSweep):
    """Has more to do than time: each deletion takes a second, and the checks of jobs all that is left."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self.clock = clock
        self.due_deletions = 0

    def delete_jobs(self, deadline: datetime) -> dict[str, int]:
        removed = 0
        while removed < self.due_deletions and self.clock.now() < deadline:
            self.clock.advance(1)
            removed += 1
        self.due_deletions -= removed
        return {"removed": removed}

    def sweep_jobs(self, deadline: datetime) -> SweepResult:
        self.clock.set(deadline)
        return SweepResult({}, finished=False)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def sweep(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSweep]:
    sweep = FakeSweep()
    with mock_aws():
        lease = Lease(build_control_table(create_control_table()), "sweep", clock)
        monkeypatch.setattr(app, "clock", clock)
        monkeypatch.setattr(app, "build_sweep_lease", lambda: lease)
        replace_parts(monkeypatch, sweep)
        yield sweep


def replace_parts(monkeypatch: pytest.MonkeyPatch, sweep: FakeSweep) -> None:
    monkeypatch.setattr(app, "build_delivery_sweep", lambda: sweep)
    monkeypatch.setattr(app, "build_slot_repair", lambda: sweep)
    monkeypatch.setattr(app, "build_sweeper", lambda: sweep)
    monkeypatch.setattr(
        app, "start_workers", lambda: start_worker(sweep, has_work=lambda: bool(sweep.bulk_operations))
    )
    monkeypatch.setattr(app, "build_deletion_sweep", lambda: sweep)


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


@pytest.mark.usefixtures("sweep")
def test_checks_of_jobs_that_take_all_the_time_do_not_stop_deletions(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = BusySweep(clock)
    replace_parts(monkeypatch, sweep)
    sweep.due_deletions = 8

    assert app.lambda_handler({}, CONTEXT)["deletions"] == {"removed": 5}
    clock.set(NOW)
    assert app.lambda_handler({}, CONTEXT)["deletions"] == {"removed": 3}


@pytest.mark.usefixtures("sweep")
def test_deletions_have_the_time_that_the_checks_of_jobs_leave(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = BusySweep(clock)
    replace_parts(monkeypatch, sweep)
    sweep.due_deletions = 100
    monkeypatch.setattr(sweep, "sweep_jobs", lambda _: SweepResult({}, finished=True))

    assert app.lambda_handler({}, CONTEXT)["deletions"] == {"removed": 47}
