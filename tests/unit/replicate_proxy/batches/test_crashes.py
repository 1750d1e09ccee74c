"""A process that ends at any call: no second and no missing job, exact counts, one line per line."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest

from replicate_proxy.batches import expander
from replicate_proxy.jobs.model import JobStatus
from tests.support.batches import TENANT, LargeBatches, make_line, make_lines
from tests.support.crashes import CrashPoint, SimulatedCrashError

LINES = 4
CONTENT = make_lines(LINES) + b"bad\n" + make_line(LINES + 2)
EFFECTS = pytest.mark.parametrize("has_effect", [False, True], ids=["before", "after"])


@pytest.fixture(autouse=True)
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expander, "SLICE_LINES", 2)


def run_to_end(batches: LargeBatches) -> None:
    for _ in range(3):
        batches.run()
        batches.end_jobs()


def crash_at(
    number: int, *, has_effect: bool, budget: bool = False, canceled: bool = False, slow: bool = False
) -> bool:
    """Run a batch whose worker ends at a call, and check its end. Return False if there is no such call."""
    point = CrashPoint(has_effect=has_effect)
    batches = LargeBatches(point, part_bytes=10_000 if slow else 200)
    if budget:
        batches.set_budget(jobs=3)
    batch = batches.create(CONTENT, webhook="https://app.test/hook")
    if canceled:
        batches.service.cancel(TENANT, batch.id)
    if slow:
        # The results of each slice are stored before the next is read.
        batches.objects.on_read = lambda _key: batches.clock.advance(11)
    point.at = len(point.calls) + number
    has_crashed = False
    for _ in range(5):
        try:
            batches.run()
        except SimulatedCrashError:
            has_crashed = True
        batches.end_jobs()

    jobs = batches.list_jobs()
    expected = 0 if canceled else 3 if budget else LINES + 1
    assert len(jobs) == expected
    assert {job.status for job in jobs} <= {JobStatus.SUCCEEDED}
    # Every job was sent, perhaps twice.
    assert {command.job_id for command in batches.queue.commands} == {job.id for job in jobs}
    large = batches.get(batch).large
    assert large is not None
    assert large.is_completed
    assert (large.lines, large.created) == (LINES + 2, expected)
    assert batches.counts.read_counts(TENANT, batch.id).ended == expected
    results = batches.read_results(batch)
    assert [result["line"] for result in results] == list(range(1, LINES + 3))
    assert [result["status"] for result in results].count("succeeded") == expected
    assert len(batches.deliveries.list_all()) == len(batches.deliveries.list_all_events()) == 1
    return has_crashed


@EFFECTS
@pytest.mark.parametrize("variant", ["plain", "budget", "canceled", "slow"])
def test_worker_that_ends_at_any_call_loses_and_repeats_nothing(variant: str, *, has_effect: bool) -> None:
    options = {variant: True} if variant != "plain" else {}
    number = 0
    while crash_at(number, has_effect=has_effect, **options):
        number += 1
    assert number > 30


@EFFECTS
@pytest.mark.parametrize("meanwhile", ["cancel", "spent budget"])
def test_line_whose_job_exists_keeps_it_whatever_changes_after_a_crash(
    meanwhile: str, *, has_effect: bool
) -> None:
    """A slice that is expanded again may find its lines canceled or refused, but not those with a job."""
    kept = 0
    for number in range(40):
        point = CrashPoint(has_effect=has_effect)
        batches = LargeBatches(point)
        batch = batches.create(CONTENT)
        point.at = len(point.calls) + number
        with suppress(SimulatedCrashError):
            batches.run()
        before = {job.id for job in batches.list_jobs()}
        if meanwhile == "cancel":
            batches.service.cancel(TENANT, batch.id)
        else:
            batches.set_budget(jobs=0)
        for _ in range(4):
            batches.run()
            batches.end_jobs(JobStatus.CANCELED)

        results = batches.read_results(batch)
        jobs = {job.batch_line: job.id for job in batches.list_jobs()}
        assert [result["line"] for result in results] == list(range(1, LINES + 3))
        assert {result["line"]: result["id"] for result in results if result["id"]} == jobs
        assert before == set(jobs.values())
        large = batches.get(batch).large
        assert large is not None
        assert (large.created, large.is_completed) == (len(jobs), True)
        kept += 0 < len(jobs) < LINES + 1
    assert kept > 5


@EFFECTS
def test_create_that_is_repeated_leads_to_one_batch(*, has_effect: bool) -> None:
    for number in range(20):
        point = CrashPoint(at=number, has_effect=has_effect)
        batches = LargeBatches(point)
        file_id = batches.add_file(CONTENT)
        with suppress(SimulatedCrashError):
            batches.create_from(file_id, idempotency_key="k")
        is_last = len(point.calls) <= number
        point.at = None
        batch = batches.create_from(file_id, idempotency_key="k")
        run_to_end(batches)
        assert len(batches.list_jobs()) == LINES + 1
        assert batches.read_results(batch)
        if is_last:
            return
    raise AssertionError("a create makes fewer calls")


def test_worker_without_its_lease_repeats_nothing() -> None:
    batches = LargeBatches()
    batch = batches.create(CONTENT)
    stale = batches.get(batch)
    assert stale.large is not None
    batches.run()
    count = len(batches.list_jobs())

    # It has read the batch before another worker expanded it.
    assert batches.worker._try_step(stale) is False
    canceled = replace(stale, large=replace(stale.large, cancel_requested_at=batches.clock.now()))
    assert batches.worker._try_step(canceled) is False
    assert len(batches.list_jobs()) == count
    large = batches.get(batch).large
    assert large is not None
    assert large.created == count
    # What it has stored about the lines is not taken for what the other has stored.
    batches.end_jobs()
    batches.run()
    statuses = [result["status"] for result in batches.read_results(batch)]
    assert statuses.count("succeeded") == count
    assert "canceled" not in statuses


def test_worker_without_its_lease_does_not_set_a_batch_back() -> None:
    batches = LargeBatches()
    batch = batches.create(CONTENT)
    earlier = []
    while (current := batches.get(batch)).large is not None and not current.large.is_completed:
        earlier.append(current)
        batches.worker._try_step(current, is_first=False)
        batches.end_jobs()
    assert len(earlier) > 5

    for stale in earlier:
        assert batches.worker._try_step(stale, is_first=False) is False
        assert batches.get(batch) == current
