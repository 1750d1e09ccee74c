"""Batches that fail, or end the worker, are looked at later: none of them stops the others."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from replicate_proxy.batches import expander
from replicate_proxy.batches.model import SLICE_LINES, BatchPhase
from replicate_proxy.errors import RetryableError
from replicate_proxy.pauses.pause import Pause, PauseMode
from tests.support.aws import JOBS_TABLE
from tests.support.batches import TENANT, LargeBatches, make_line, make_lines
from tests.support.crashes import SimulatedCrashError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from replicate_proxy.batches.model import LargeBatch
    from replicate_proxy.jobs.model import Batch

PAUSE = Pause(mode=PauseMode.REFUSE, reason="flood", since="2026-01-31T09:30:00.000Z")
# As many as the worker reads at once.
PAGE = 50
OTHER = "globex"


@pytest.fixture
def batches() -> LargeBatches:
    return LargeBatches()


def get_large(batches: LargeBatches, batch: Batch) -> LargeBatch:
    large = batches.get(batch).large
    assert large is not None
    return large


def read_marks(batches: LargeBatches) -> list[str]:
    response = batches.aws.client("dynamodb").query(
        TableName=JOBS_TABLE,
        KeyConditionExpression="pk = :pk",
        ExpressionAttributeValues={":pk": {"S": "BATCHES#DUE"}},
    )
    return [item["sk"]["S"] for item in response["Items"]]


def fail_saves_of(batches: LargeBatches, monkeypatch: pytest.MonkeyPatch, batch: Batch) -> None:
    store = batches.worker.store
    save: Callable[[Batch], Batch] = store.replace

    def fail(changed: Batch) -> Batch:
        if changed.id == batch.id:
            raise RetryableError("throttled")
        return save(changed)

    monkeypatch.setattr(store, "replace", fail)


def test_batches_of_a_paused_tenant_do_not_stop_those_of_others(batches: LargeBatches) -> None:
    batches.pauses.put(TENANT, PAUSE)
    paused = [batches.create(make_lines(1)) for _ in range(PAGE)]
    batches.clock.advance(1)
    other = batches.create(make_lines(2), tenant=OTHER)

    batches.run()

    assert get_large(batches, other).phase is BatchPhase.RUNNING
    for _ in range(2):
        batches.run()
    assert {get_large(batches, batch).phase for batch in paused} == {BatchPhase.EXPANDING}
    assert len(read_marks(batches)) == PAGE + 1
    batches.pauses.remove(TENANT)
    batches.run()
    assert {get_large(batches, batch).phase for batch in paused} == {BatchPhase.RUNNING}


@pytest.mark.parametrize("error", [RetryableError("S3 cannot be reached"), TypeError("a bug")])
def test_failed_step_is_repeated_by_the_next_sweep(
    batches: LargeBatches, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    batch = batches.create(make_lines(2))
    attempts = 0

    def fail(*_: object) -> bytes:
        nonlocal attempts
        attempts += 1
        raise error

    monkeypatch.setattr(batches.objects, "read_range", fail)
    batches.run()
    assert attempts == 1
    due_at = get_large(batches, batch).due_at
    assert timedelta() < due_at - batches.clock.now() < timedelta(minutes=1)
    assert batches.worker.run(batches.clock.now() + timedelta(seconds=1)) == 0
    assert attempts == 1

    monkeypatch.undo()
    batches.run()
    assert get_large(batches, batch).phase is BatchPhase.RUNNING


def test_batch_whose_jobs_run_for_long_is_checked_by_every_sweep(batches: LargeBatches) -> None:
    batch = batches.create(make_lines(1))
    for _ in range(10):
        batches.run()
        batches.clock.advance(60)
    batches.end_jobs()

    batches.run()

    assert get_large(batches, batch).is_completed


def test_removal_that_fails_is_repeated(batches: LargeBatches, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = batches.create(make_lines(1), retention_seconds=3600)
    for _ in range(2):
        batches.run()
        batches.end_jobs()

    def fail(_batch: Batch) -> None:
        raise RetryableError("throttled")

    monkeypatch.setattr(batches.worker.store, "remove", fail)
    batches.clock.advance(hours=1)
    batches.run()
    assert get_large(batches, batch).is_completed
    assert get_large(batches, batch).due_at > batches.clock.now()
    monkeypatch.undo()
    batches.run()
    assert batches.store.get(TENANT, batch.id) is None
    assert read_marks(batches) == []


def test_completed_batch_is_kept_while_another_tenant_has_a_due_one(batches: LargeBatches) -> None:
    batch = batches.create(make_lines(1))
    running = batches.create(make_lines(1), tenant=OTHER)
    batches.run()
    batches.end_jobs()

    batches.run()

    assert get_large(batches, running).phase is BatchPhase.RUNNING
    assert get_large(batches, batch).is_completed
    assert len(batches.read_results(batch)) == 1


def test_results_whose_lines_are_gone_start_one_upload(batches: LargeBatches) -> None:
    batch = batches.create(make_lines(3))
    batches.run()
    batches.end_jobs()
    lines = {key: body for key, body in batches.objects.objects.items() if "/lines/" in key}
    for key in lines:
        del batches.objects.objects[key]
    start_upload = batches.objects.start_upload

    def start(key: str) -> str:
        # Otherwise the worker would not end if it started uploads again and again.
        batches.clock.advance(1)
        return start_upload(key)

    batches.objects.start_upload = start  # type: ignore[method-assign] # this test only
    batches.run()
    large = get_large(batches, batch)
    assert (len(batches.objects.uploads), large.phase) == (1, BatchPhase.WRITING)
    assert large.due_at > batches.clock.now()

    batches.objects.objects |= lines
    batches.run()
    assert get_large(batches, batch).is_completed
    assert len(batches.read_results(batch)) == 3


def test_results_are_written_again_after_a_part_that_was_replaced_later(
    batches: LargeBatches, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = batches.create(make_lines(3))
    batches.run()
    batches.end_jobs()
    complete_upload = batches.objects.complete_upload

    def complete(key: str, upload: str, parts: Sequence[str]) -> None:
        # An earlier attempt at the part, which was given up, takes effect now.
        monkeypatch.undo()
        batches.objects.upload_part(key, upload, 1, b"of a job that is deleted by now")
        complete_upload(key, upload, parts)

    monkeypatch.setattr(batches.objects, "complete_upload", complete)
    batches.run()
    assert get_large(batches, batch).is_completed
    assert len(batches.read_results(batch)) == 3


def test_cancel_of_a_batch_that_is_postponed_takes_effect_at_once(
    batches: LargeBatches, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = batches.create(make_lines(2))

    def end_process(*_: object) -> bytes:
        raise SimulatedCrashError

    monkeypatch.setattr(batches.objects, "read_range", end_process)
    for _ in range(3):
        with suppress(SimulatedCrashError):
            batches.run()
    monkeypatch.undo()
    batches.clock.advance(61)  # the lease of the worker ends
    assert get_large(batches, batch).due_at > batches.clock.now()

    batches.service.cancel(TENANT, batch.id)
    batches.worker.run(batches.clock.now() + timedelta(seconds=30))
    assert get_large(batches, batch).is_completed
    assert {result["status"] for result in batches.read_results(batch)} == {"canceled"}
    batches.clock.advance(minutes=15)
    assert batches.store.list_due(batches.clock.now(), limit=PAGE) == []
    assert len(read_marks(batches)) == 1


def test_cancel_of_a_batch_that_fails_is_kept(batches: LargeBatches, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = batches.create(make_lines(2))

    def cancel(*_: object) -> bytes:
        batches.service.cancel(TENANT, batch.id)
        raise RetryableError("S3 cannot be reached")

    monkeypatch.setattr(batches.objects, "read_range", cancel)
    batches.run()
    large = get_large(batches, batch)
    assert large.cancel_requested_at is not None
    assert large.due_at > batches.clock.now()
    monkeypatch.undo()
    batches.run()
    assert get_large(batches, batch).is_completed
    assert {result["status"] for result in batches.read_results(batch)} == {"canceled"}


def test_cancel_during_a_step_does_not_delay_the_batch(
    batches: LargeBatches, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = batches.create(make_lines(2))
    put = batches.objects.put

    def cancel(key: str, body: bytes) -> None:
        batches.service.cancel(TENANT, batch.id)
        put(key, body)

    monkeypatch.setattr(batches.objects, "put", cancel)
    batches.run()
    monkeypatch.undo()
    large = get_large(batches, batch)
    assert (large.lines, large.due_at, large.interruptions) == (0, batch.created_at, 0)
    assert batches.worker.run(batches.clock.now() + timedelta(seconds=30))
    assert get_large(batches, batch).skipped == 2


def test_batch_that_cannot_be_postponed_does_not_stop_others(
    batches: LargeBatches, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = batches.create(make_lines(1))
    other = batches.create(make_lines(1))
    fail_saves_of(batches, monkeypatch, broken)
    batches.run()
    assert get_large(batches, other).phase is BatchPhase.RUNNING
    monkeypatch.undo()
    batches.run()
    assert get_large(batches, broken).phase is BatchPhase.RUNNING


def test_batch_that_ends_the_process_stops_others_ever_less_often(
    batches: LargeBatches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expander, "SLICE_LINES", 1)
    deadly = batches.create(make_line(1) + make_line(2, input={"prompt": "poison"}) + make_line(3))
    batches.clock.advance(1)
    other = batches.create(make_lines(20))
    crashes: list[int] = []
    check_input = batches.worker.expander._check_input

    def check(request: Any) -> Any:
        if request.input["prompt"] == "poison":
            raise SimulatedCrashError
        return check_input(request)

    monkeypatch.setattr(batches.worker.expander, "_check_input", check)
    for minute in range(60):
        try:
            batches.run()
        except SimulatedCrashError:
            crashes.append(minute)
        if minute == 3:
            assert get_large(batches, other).phase is BatchPhase.RUNNING
    assert len(crashes) < 10
    assert max(later - earlier for earlier, later in pairwise(crashes)) < 16
    assert get_large(batches, deadly).lines == 1

    # Once it ends no process any more, it goes on without delays.
    monkeypatch.undo()
    batches.clock.advance(minutes=15)
    batches.run()
    large = get_large(batches, deadly)
    assert (large.phase, large.lines, large.interruptions) == (BatchPhase.RUNNING, 3, 0)


def test_due_batches_are_found_behind_a_page_of_old_marks(batches: LargeBatches) -> None:
    postponed = [batches.create(make_lines(1)) for _ in range(5)]
    batches.clock.advance(1)
    due = batches.create(make_lines(1))
    now = batches.clock.now()
    for batch in postponed:
        large = get_large(batches, batch)
        changed = replace(large, due_at=now + timedelta(minutes=1))
        batches.store.replace(replace(batches.get(batch), large=changed))

    assert [batch.id for batch in batches.store.list_due(now, limit=2)] == [due.id]
    later = now + timedelta(minutes=1)
    listed = batches.store.list_due(later, limit=10)
    assert {batch.id for batch in listed} == {batch.id for batch in [*postponed, due]}
    assert len(batches.store.list_due(later, limit=2)) == 2


def slow_down(batches: LargeBatches, monkeypatch: pytest.MonkeyPatch, *, seconds: float) -> None:
    """Let each line be a slice, whose expansion takes so long."""
    monkeypatch.setattr(expander, "SLICE_LINES", 1)
    put = batches.objects.put

    def put_slowly(key: str, body: bytes) -> None:
        batches.clock.advance(seconds)
        put(key, body)

    monkeypatch.setattr(batches.objects, "put", put_slowly)


def test_batches_beyond_a_page_go_on_with_the_others(
    batches: LargeBatches, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(PAGE):
        batches.create(make_lines(5))
    batches.clock.advance(1)
    others = [batches.create(make_lines(1), tenant=OTHER) for _ in range(2)]
    slow_down(batches, monkeypatch, seconds=1)

    batches.run(seconds=2 * PAGE + 20)
    assert [get_large(batches, other).phase for other in others] == [BatchPhase.RUNNING] * 2


def test_batches_go_on_in_turn_however_long_their_steps_take(
    batches: LargeBatches, monkeypatch: pytest.MonkeyPatch
) -> None:
    created = [batches.create(make_lines(3)) for _ in range(5)]
    slow_down(batches, monkeypatch, seconds=10)

    # After so much time a worker renews its lease, and lists the due batches again.
    batches.run(seconds=100)
    assert [get_large(batches, batch).lines for batch in created] == [2] * 5


def test_results_that_no_run_can_read_at_once_are_written_by_several() -> None:
    """As of 50,000 outputs that are loaded to be left out: they do not fill a part for minutes."""
    count = 12 * SLICE_LINES
    batches = LargeBatches(part_bytes=10 * count * 1000)
    batch = batches.create(make_lines(count))
    batches.run()
    batches.end_jobs()
    run_ends = batches.clock.now()

    def read_slowly(key: str) -> None:
        if "/lines/" in key:
            batches.clock.advance(40)
        if batches.clock.now() > run_ends:
            raise SimulatedCrashError

    batches.objects.on_read = read_slowly
    for _ in range(10):
        run_ends = batches.clock.now() + timedelta(seconds=61 + 300)
        batches.run(seconds=280)
        if get_large(batches, batch).is_completed:
            break
    assert get_large(batches, batch).is_completed
    assert [result["line"] for result in batches.read_results(batch)] == list(range(1, count + 1))
    assert batches.objects.completed_uploads == 1


def test_worker_keeps_its_lease_while_it_reads_results() -> None:
    batches = LargeBatches(part_bytes=10**9)
    batches.create(make_lines(20 * SLICE_LINES))
    batches.run()
    batches.end_jobs()
    free: list[bool] = []

    def read_slowly(key: str) -> None:
        if "/lines/" in key:
            batches.clock.advance(5)
            with batches.worker.lease.hold(batches.clock.now()) as is_free:
                free.append(is_free)

    batches.objects.on_read = read_slowly
    batches.run(seconds=280)
    assert len(free) == 20
    assert not any(free)


@pytest.mark.parametrize("count", [10, 2 * PAGE])
def test_batch_does_not_wait_for_many_of_another_tenant(
    batches: LargeBatches, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    many = [batches.create(make_lines(5)) for _ in range(count)]
    batches.clock.advance(1)
    other = batches.create(make_lines(6), tenant=OTHER)
    slow_down(batches, monkeypatch, seconds=1)

    batches.run(seconds=20)

    assert get_large(batches, other).lines == 6
    # The others go on with the other half of the time, and in turn.
    lines = [get_large(batches, batch).lines for batch in many]
    assert 8 <= sum(lines) <= 14
    assert max(lines) - min(lines) <= 1


def test_waiting_batches_of_two_tenants_are_listed_once(
    batches: LargeBatches, monkeypatch: pytest.MonkeyPatch
) -> None:
    for tenant in (TENANT, OTHER):
        for _ in range(5):
            batches.create(make_lines(1), tenant=tenant)
    batches.run()
    lists = 0
    list_due = batches.worker.store.list_due

    def count_lists(*args: Any, **options: Any) -> Sequence[Batch]:
        nonlocal lists
        lists += 1
        return list_due(*args, **options)

    monkeypatch.setattr(batches.worker.store, "list_due", count_lists)

    batches.run()

    # The second one finds that none can go on.
    assert lists == 2
