"""Deletion of jobs with all their rows and objects, whatever fails, and nothing of other jobs."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from replicate_proxy.aws.job_stream import job_change_from_stream_record
from replicate_proxy.concurrency.model import Limit, WaitingJob
from replicate_proxy.errors import ApiError, ConflictError, NotFoundError, RetryableError
from replicate_proxy.jobs.model import JobStatus
from replicate_proxy.observability import Metric
from replicate_proxy.outputs.storage import KEY_PREFIXES
from replicate_proxy.ports import DueJob
from tests.support.aws import make_client_error
from tests.support.builders import make_job
from tests.support.clock import NOW
from tests.support.deletion import KEY, CallCounter, Crash, StoredJobs, make_stored_event
from tests.support.metrics import MetricsReader

if TYPE_CHECKING:
    from datetime import datetime

    from replicate_proxy.deletion.model import Deletion
    from replicate_proxy.jobs.model import Job

# Of one deletion, with all that may belong to a job.
MAX_CALLS = 40


@pytest.fixture
def stored() -> StoredJobs:
    return StoredJobs()


def test_deleted_job_leaves_nothing_and_others_keep_everything(stored: StoredJobs) -> None:
    other, same_key = stored.add("acme", key="other"), stored.add("globex")
    rows, objects = stored.list_rows(), stored.list_objects()
    job = stored.add("acme")

    stored.deleter.delete("acme", job.id)
    stored.run_all_passes()

    assert stored.list_rows() == rows
    assert stored.list_objects() == objects
    assert stored.jobs.get("acme", other.id) == other
    assert stored.jobs.get("globex", same_key.id) == same_key


@pytest.mark.parametrize("batch_id", [None, "b" * 26])
def test_deleted_job_leaves_no_slot_and_no_place_in_line(stored: StoredJobs, batch_id: str | None) -> None:
    # Given a job that was granted slots when it had been canceled, and whose places were written after that
    job = stored.add(entry_name="acme/flux", batch_id=batch_id)
    if batch_id is not None:
        stored.jobs.create(job)
    names = ("tenant/acme", "model/acme/flux")
    for name in names:
        assert stored.slots.acquire(Limit(name, 2), f"acme/{job.id}", 3)
        assert stored.slots.acquire(Limit(name, 2), "acme/other", 3)
        stored.slots.join_line(name, WaitingJob("acme", job.id, "c-1", is_batched=batch_id is not None))

    stored.deleter.delete("acme", job.id)
    stored.run_all_passes()

    assert [stored.slots.read(name).holders for name in names] == [{"acme/other": 3}] * 2
    assert [stored.slots.list_line(name, count=1) for name in names] == [[], []]


def test_deleted_job_is_found_by_no_read_at_once(stored: StoredJobs) -> None:
    job = stored.add()

    stored.deleter.delete("acme", job.id)

    assert stored.jobs.get("acme", job.id) is None
    assert stored.jobs.get_many("acme", [job.id]) == {}
    assert not stored.jobs.list_jobs("acme", before_id=None, min_id=None, limit=10).jobs
    assert stored.jobs.is_deleted("acme", job.id)


def test_content_is_gone_after_the_first_pass(stored: StoredJobs) -> None:
    job = stored.add()
    stored.deleter.delete("acme", job.id)
    # A change of the job may still be sent without asking whether it was deleted.
    assert stored.run_sweep() == {}
    stored.clock.advance(60)

    assert stored.run_sweep() == {"emptied": 1}

    assert stored.list_objects() == set()
    assert not [row for row in stored.list_rows() if row[0].endswith("deliveries")]
    assert stored.run_sweep() == {}


def test_job_that_expires_at_its_end_is_emptied_a_minute_later(stored: StoredJobs) -> None:
    stored.add(delete_at=NOW)

    assert stored.run_sweep() == {"not_due": 1}
    stored.clock.advance(60)
    assert stored.run_sweep() == {"emptied": 1}


@pytest.mark.parametrize("delete_at", [None, NOW + timedelta(hours=1)])
def test_job_that_the_index_shows_as_expired_is_kept_until_it_is(
    stored: StoredJobs, monkeypatch: pytest.MonkeyPatch, delete_at: datetime | None
) -> None:
    """The index may lag behind the job, whose retention has changed."""
    job = stored.add(delete_at=delete_at)
    rows = [[DueJob(job.tenant, job.id, NOW)]]
    monkeypatch.setattr(stored.store, "list_due", lambda **_: rows.pop() if rows else [])

    assert stored.run_sweep() == {"not_due": 1}
    assert stored.jobs.get("acme", job.id) == job


@pytest.mark.parametrize("tenant", ["acme", "globex"])
def test_second_deletion_and_foreign_one_find_no_job(stored: StoredJobs, tenant: str) -> None:
    job = stored.add()
    if tenant == "acme":
        stored.deleter.delete("acme", job.id)

    with pytest.raises(NotFoundError):
        stored.deleter.delete(tenant, job.id)


@pytest.mark.parametrize("job_id", ["", "..", "0" * 26])
def test_unknown_job_cannot_be_deleted(stored: StoredJobs, job_id: str) -> None:
    with pytest.raises(NotFoundError):
        stored.deleter.delete("acme", job_id)


def test_running_job_has_to_be_canceled_first(stored: StoredJobs) -> None:
    job = make_job(JobStatus.PROCESSING, revision=0)
    stored.jobs.create(job)

    with pytest.raises(ApiError, match="cancel it first") as raised:
        stored.deleter.delete("acme", job.id)

    assert raised.value.status == 409
    assert stored.jobs.get("acme", job.id) is not None


@pytest.mark.parametrize("after_effect", [False, True])
def test_crash_at_any_call_leaves_nothing_in_the_end(after_effect: bool) -> None:
    """The process ends at one call of a pass; the next sweeps go on."""
    crashes = 0
    for pass_number in (1, 2, 3):
        for crash_at in range(1, MAX_CALLS):
            stored = StoredJobs()
            stored.add("globex")
            rows, objects = stored.list_rows(), stored.list_objects()
            stored.deleter.delete("acme", stored.add().id)
            for _ in range(pass_number - 1):
                stored.run_sweep()
                stored.clock.advance(26 * 3600)
            try:
                stored.run_sweep(CallCounter(crash_at=crash_at, crashes_after_effect=after_effect))
            except Crash:
                crashes += 1
            else:
                break
            stored.run_all_passes()
            assert stored.list_rows() == rows, f"crash at call {crash_at} of pass {pass_number}"
            assert stored.list_objects() == objects, f"crash at call {crash_at} of pass {pass_number}"
        else:
            pytest.fail("a pass has more calls than are tested")
    assert crashes > 30


def test_failure_of_any_call_is_repeated_by_the_next_sweep() -> None:
    for fail_at in range(1, MAX_CALLS):
        stored = StoredJobs()
        stored.add("globex")
        rows, objects = stored.list_rows(), stored.list_objects()
        stored.add(delete_at=NOW, deletes_files=True)
        stored.clock.advance(6 * 86400)
        counter = CallCounter(crash_at=fail_at, fails_with=make_client_error("InternalServerError"))
        with suppress(RetryableError):
            stored.run_sweep(counter)
        if counter.count < fail_at:
            break
        stored.run_all_passes()
        assert stored.list_rows() == rows, f"failure of call {fail_at}"
        assert stored.list_objects() == objects, f"failure of call {fail_at}"
    else:
        pytest.fail("a pass has more calls than are tested")


def test_deletion_whose_response_is_lost_is_accepted_once(stored: StoredJobs) -> None:
    job = stored.add()

    def repeat_writes(call: Any, perform: Any) -> Any:
        if call.is_write:
            perform()
        return perform()

    stored.aws.gate = repeat_writes
    stored.deleter.delete("acme", job.id)

    assert stored.jobs.get("acme", job.id) is None


def test_concurrent_change_does_not_bring_the_job_back(stored: StoredJobs) -> None:
    job = stored.add()
    stored.deleter.delete("acme", job.id)

    with pytest.raises(ConflictError):
        stored.jobs.save(replace(job, error="late"))
    with pytest.raises(ConflictError):
        stored.jobs.create(replace(job, revision=0))

    assert stored.jobs.get("acme", job.id) is None


def test_job_that_changes_meanwhile_is_deleted(stored: StoredJobs) -> None:
    job = stored.add()
    mark = stored.store.mark
    changed: list[Job] = []

    def change_first(read: Any, deletion: Deletion) -> None:
        if not changed:
            changed.append(stored.jobs.save(read))
        mark(read, deletion)

    stored.store.mark = change_first  # type: ignore[method-assign, assignment]  # this test only
    stored.deleter.delete("acme", job.id)

    assert changed
    assert stored.jobs.get("acme", job.id) is None


def test_what_comes_late_is_removed_by_the_last_pass(stored: StoredJobs) -> None:
    rows = stored.list_rows()
    job = stored.add()
    stored.deleter.delete("acme", job.id)
    stored.run_sweep()

    # A harvester and a worker of deliveries that were running, and a replay of the stream.
    stored.put_objects(job)
    stored.deliveries.create_event(make_stored_event(job, 9))
    stored.run_all_passes()

    assert stored.list_rows() == rows
    assert stored.list_objects() == set()


def test_rows_that_recognize_late_messages_stay_for_a_day(stored: StoredJobs) -> None:
    job = stored.add()
    stored.deleter.delete("acme", job.id)
    stored.run_sweep()
    stored.clock.advance(24 * 3600)
    stored.run_sweep()

    owner = stored.jobs.get_prediction_owner(job.replicate_id or "")
    assert owner is not None, "another job could adopt the prediction"
    assert any(pk == f"COUNTED#acme#{job.id}" for _, pk, _ in stored.list_rows()), "it could be counted twice"


def test_change_that_deletes_a_job_is_no_change_of_a_job() -> None:
    keys = {"pk": {"S": "JOB#acme#1"}, "sk": {"S": "JOB"}}
    record = {"dynamodb": {"Keys": keys, "NewImage": {**keys, "status": {"S": "deleted"}}}}

    assert job_change_from_stream_record(record) is None


def test_idempotency_key_that_another_job_has_taken_stays(stored: StoredJobs) -> None:
    job = stored.add()
    stored.deleter.delete("acme", job.id)
    stored.clock.advance(25 * 3600)
    other = stored.add(key=KEY, replicate_id="p2", created_at=stored.clock.now())
    stored.run_all_passes()

    assert stored.jobs.get("acme", other.id) == other
    assert any(pk.startswith("IDEM#acme#") for _, pk, _ in stored.list_rows())


def test_batch_goes_with_its_last_job(stored: StoredJobs) -> None:
    stored.add("globex")
    rows = stored.list_rows()
    batch, (first, second) = stored.add_batch()

    stored.deleter.delete("acme", first.id)
    stored.run_all_passes()
    found = stored.batches.get("acme", batch.id)
    assert found == batch
    assert [job.id for job in stored.batches.list_jobs(batch)] == [second.id]

    stored.deleter.delete("acme", second.id)
    stored.run_all_passes()
    assert stored.list_rows() == rows


def test_expired_job_is_deleted_and_keeps_files_that_outlive_it(
    stored: StoredJobs, capsys: pytest.CaptureFixture[str]
) -> None:
    job = stored.add(delete_at=NOW + timedelta(days=30))
    rows_before = len(stored.list_rows())
    stored.clock.advance(30 * 86400 - 1)
    assert stored.run_sweep() == {}
    assert len(stored.list_rows()) == rows_before

    stored.clock.advance(1)
    assert stored.run_sweep() == {"removed": 1}
    assert MetricsReader(capsys).sum(Metric.JOBS_DELETED) == 1

    assert stored.list_rows() == set()
    assert stored.jobs.get("acme", job.id) is None
    assert {key.partition("/")[0] for key in stored.list_objects()} == set(KEY_PREFIXES)


def test_expired_job_with_own_retention_is_deleted_with_its_files(stored: StoredJobs) -> None:
    stored.add(delete_at=NOW + timedelta(days=7), deletes_files=True)
    stored.clock.advance(7 * 86400)

    assert stored.run_sweep() == {"removed": 1}

    assert (stored.list_rows(), stored.list_objects()) == (set(), set())


def test_job_that_expires_soon_after_its_end_has_later_passes(stored: StoredJobs) -> None:
    stored.add(delete_at=NOW + timedelta(days=1), deletes_files=True)
    stored.clock.advance(86400)

    assert stored.run_sweep() == {"emptied": 1}
    assert stored.list_objects() == set()
    stored.run_all_passes()
    assert stored.list_rows() == set()


def test_unfinished_job_does_not_expire(stored: StoredJobs) -> None:
    job = make_job(JobStatus.PROCESSING, revision=0, delete_at=NOW)
    stored.jobs.create(job)
    stored.clock.advance(40 * 86400)

    assert stored.run_sweep() == {}
    assert stored.jobs.get("acme", job.id) is not None


def test_failing_deletion_does_not_stop_others(
    stored: StoredJobs, capsys: pytest.CaptureFixture[str]
) -> None:
    stored.deleter.delete("acme", stored.add(key="a").id)
    stored.deleter.delete("acme", stored.add(key="b").id)
    stored.clock.advance(60)
    remove_all = stored.sweep._objects.remove_all
    failed: list[str] = []

    def fail_once(prefix: str) -> int:
        if not failed:
            failed.append(prefix)
            raise ValueError("a bug")
        return remove_all(prefix)

    stored.sweep._objects.remove_all = fail_once  # type: ignore[method-assign] # this test only

    assert stored.run_sweep() == {"failed": 1, "emptied": 1}
    assert MetricsReader(capsys).sum(Metric.DELETION_FAILED, reason="unexpected") == 1
    assert stored.run_sweep() == {"emptied": 1}


def test_sweep_stops_at_its_deadline(stored: StoredJobs) -> None:
    stored.deleter.delete("acme", stored.add().id)
    stored.clock.advance(60)

    assert stored.sweep.delete_jobs(stored.clock.now()) == {}
    assert stored.run_sweep() == {"emptied": 1}


def test_sweep_fails_when_no_shard_can_be_read(stored: StoredJobs) -> None:
    def fail(_call: Any, _perform: Any) -> Any:
        raise make_client_error("InternalServerError")

    stored.aws.gate = fail
    with pytest.raises(RetryableError):
        stored.sweep.delete_jobs(stored.clock.now() + timedelta(seconds=5))


def test_cost_of_expired_jobs_is_that_of_the_documentation(stored: StoredJobs) -> None:
    """The requests of one job with a webhook, without an idempotency key, as docs/costs.md has them."""
    stored.add(delete_at=NOW + timedelta(days=7), deletes_files=True, idempotency_hash=None)
    stored.clock.advance(7 * 86400)
    counter = CallCounter()
    stored.run_sweep(counter)
    per_job = [name for name in counter.names if name != "dynamodb.query"]

    assert per_job.count("s3.list_objects_v2") == 6
    assert per_job.count("s3.delete_objects") == 6
    assert per_job.count("dynamodb.get_item") == 2
    assert per_job.count("dynamodb.put_item") == 1
    assert per_job.count("dynamodb.batch_write_item") == 2
    assert per_job.count("dynamodb.delete_item") == 3


@pytest.mark.parametrize(("deletes_files", "per_job"), [(False, 13), (True, 21)])
def test_requests_of_many_expired_jobs_are_those_of_each(
    stored: StoredJobs, deletes_files: bool, per_job: int
) -> None:
    """Beside those of the jobs, there are only four queries for each page of 100, and at the end.

    The jobs of this test have public and private files; a real one has one kind and needs one request less.
    """
    count, page_size = 120, 100
    stored.event_count = 1
    for number in range(count):
        stored.add(key=f"key {number}", delete_at=NOW + timedelta(days=30), deletes_files=deletes_files)
    stored.clock.advance(30 * 86400)
    counter = CallCounter()

    assert stored.run_sweep(counter) == {"removed": count}

    pages = -(-count // page_size) + 1
    assert counter.count <= count * per_job + 4 * pages
    assert counter.count > count * (per_job - 1)
