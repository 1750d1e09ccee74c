from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from replicate_proxy.concurrency.model import Limit, WaitingJob, name_tenant_limit
from replicate_proxy.jobs.changes import Claimed
from replicate_proxy.jobs.model import JobStatus, Waiting, WaitReason
from replicate_proxy.webhooks.model import JobChange
from tests.support.builders import TENANT
from tests.support.clock import NOW
from tests.support.concurrency import Concurrency

if TYPE_CHECKING:
    from replicate_proxy.jobs.model import Job

NAME = name_tenant_limit(TENANT)
ONE = Limit(NAME, 1)


@pytest.fixture
def concurrency() -> Concurrency:
    concurrency = Concurrency()
    concurrency.tenant_limits.put(TENANT, 1)
    return concurrency


def run_repair(concurrency: Concurrency) -> int:
    return concurrency.repair.run(concurrency.clock.now() + timedelta(seconds=10))


def hold(concurrency: Concurrency, job: Job) -> None:
    assert concurrency.gate.acquire(job) is None


def test_pass_without_lines_sends_nothing(concurrency: Concurrency) -> None:
    assert run_repair(concurrency) == 0


@pytest.mark.parametrize("status", [JobStatus.SUCCEEDED, JobStatus.HARVESTING])
def test_slot_of_job_that_does_not_need_it_is_freed(concurrency: Concurrency, status: JobStatus) -> None:
    ended = concurrency.create_job(status=status, limits=(NAME,))
    concurrency.slots.acquire(ONE, f"{TENANT}/{ended.id}", 1)
    waiting = concurrency.create_job()
    hold(concurrency, waiting)

    assert run_repair(concurrency) == 1
    assert concurrency.queue.take_ids() == [waiting.id]


def test_slot_that_was_granted_to_a_job_which_waits_for_another_limit_is_freed(
    concurrency: Concurrency,
) -> None:
    """It was granted just after the job had left the line."""
    concurrency.tenant_limits.put("globex", 1)
    other_limit = Limit(name_tenant_limit("globex"), 1)
    waiting = Waiting(reason=WaitReason.CONCURRENCY_LIMIT, limit=other_limit.name, max_concurrency=1)
    moved = concurrency.create_job(waiting=waiting)
    last = concurrency.create_job()
    concurrency.slots.acquire(ONE, f"{TENANT}/{moved.id}", 0)
    hold(concurrency, last)

    assert run_repair(concurrency) == 1
    assert concurrency.queue.take_ids() == [last.id]


def test_slot_of_deleted_job_is_freed(concurrency: Concurrency) -> None:
    concurrency.slots.acquire(ONE, f"{TENANT}/gone", 3)
    waiting = concurrency.create_job()
    hold(concurrency, waiting)

    assert run_repair(concurrency) == 1


def test_slot_of_running_job_stays(concurrency: Concurrency) -> None:
    job = concurrency.create_job()
    limits = concurrency.gate.acquire(job)
    assert limits is not None
    concurrency.updater.apply(job, Claimed(attempt=1, lease_until=NOW, limits=limits, revision=job.revision))
    hold(concurrency, concurrency.create_job())

    assert run_repair(concurrency) == 0


def test_slot_of_queued_job_is_freed_once_the_job_has_changed(concurrency: Concurrency) -> None:
    job = concurrency.create_job()
    assert concurrency.gate.acquire(job) == (NAME,)
    waiting = concurrency.create_job()
    hold(concurrency, waiting)
    assert run_repair(concurrency) == 0

    concurrency.jobs.save(concurrency.read(job))

    assert run_repair(concurrency) == 1
    assert concurrency.queue.take_ids() == [waiting.id]


def test_granted_job_is_sent_again_after_a_crash(concurrency: Concurrency) -> None:
    concurrency.slots.acquire(ONE, f"{TENANT}/gone", 3)
    waiting = concurrency.create_job()
    hold(concurrency, waiting)
    concurrency.queue.faults.fail("send_all")
    assert run_repair(concurrency) == 0
    assert concurrency.slots.read(NAME).holders == {f"{TENANT}/{waiting.id}": 0}

    assert run_repair(concurrency) == 1
    assert concurrency.queue.take_ids() == [waiting.id]
    assert run_repair(concurrency) == 0


def test_line_is_closed_once_nobody_waits(concurrency: Concurrency) -> None:
    job = WaitingJob.from_job(concurrency.create_job())
    concurrency.slots.join_line(NAME, job)
    concurrency.slots.leave_line(NAME, [job])

    run_repair(concurrency)

    assert concurrency.slots.list_lines() == []


def test_all_jobs_go_where_the_limit_is_gone(concurrency: Concurrency) -> None:
    concurrency.gate.acquire(concurrency.create_job())
    jobs = [concurrency.create_job() for _ in range(130)]
    for job in jobs:
        hold(concurrency, job)
    concurrency.tenant_limits.remove(TENANT)

    assert run_repair(concurrency) == 130
    assert set(concurrency.queue.take_ids()) == {job.id for job in jobs}


def test_release_reports_the_first_change_that_failed(concurrency: Concurrency) -> None:
    ended = concurrency.create_job(status=JobStatus.PROCESSING, limits=(NAME,))
    final = replace(ended, status=JobStatus.SUCCEEDED)
    concurrency.slots.acquire(ONE, f"{TENANT}/{ended.id}", 1)
    hold(concurrency, concurrency.create_job())
    concurrency.queue.faults.fail("send_all")
    harmless = JobChange(None, ended)

    assert concurrency.releaser.release([harmless, JobChange(ended, final), harmless]) == 1
