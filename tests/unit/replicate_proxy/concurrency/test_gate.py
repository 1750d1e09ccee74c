from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from replicate_proxy.concurrency.model import WaitingJob, name_tenant_limit
from replicate_proxy.jobs.changes import (
    CancelRequested,
    CheckScheduled,
    Claimed,
    EndedByProxy,
    QueueTimeExceeded,
    StaleChangeError,
)
from replicate_proxy.jobs.model import (
    AttemptOutcome,
    EndReason,
    Fallback,
    FallbackCause,
    Job,
    JobStatus,
    PastAttempt,
    Waiting,
    WaitReason,
)
from replicate_proxy.model_entries.entry import ModelEntry, parse_target
from tests.support.builders import TENANT
from tests.support.clock import NOW
from tests.support.concurrency import Concurrency

TENANT_LIMIT = name_tenant_limit(TENANT)
MODEL = "team/fast"
MODEL_LIMIT = f"model/{MODEL}"
UNKNOWN_ATTEMPT = PastAttempt(
    attempt=1, outcome=AttemptOutcome.UNKNOWN, replicate_id=None, error="", ended_at=NOW
)


def make_concurrency(*, tenant: int | None = None, model: int | None = None) -> Concurrency:
    concurrency = Concurrency()
    if tenant is not None:
        concurrency.tenant_limits.put(TENANT, tenant)
    if model is not None:
        entry = ModelEntry(name=MODEL, max_concurrency=model)
        concurrency.model_entries.replace({MODEL: entry}, revision=0)
    return concurrency


def send(concurrency: Concurrency, job: Job) -> Job | None:
    """Dispatch the job: return it as it was claimed, or None if it is held."""
    job = concurrency.read(job)
    limits = concurrency.gate.acquire(job)
    if limits is None:
        return None
    claim = Claimed(
        attempt=job.attempt, lease_until=NOW + timedelta(seconds=90), limits=limits, revision=job.revision
    )
    return concurrency.apply(job, claim)


def end(concurrency: Concurrency, job: Job) -> Job:
    return concurrency.apply(
        job, EndedByProxy.decide(concurrency.read(job), JobStatus.FAILED, EndReason.UNRESOLVED, "given up")
    )


def test_job_without_limits_acquires_nothing() -> None:
    concurrency = make_concurrency()
    job = concurrency.create_job(entry_name=MODEL)

    assert concurrency.gate.acquire(job) == ()
    assert concurrency.slots.list_lines() == []


def test_job_acquires_a_slot_of_its_tenant_and_of_its_model() -> None:
    concurrency = make_concurrency(tenant=1, model=1)
    job = concurrency.create_job(entry_name=MODEL)

    assert concurrency.gate.acquire(job) == (TENANT_LIMIT, MODEL_LIMIT)
    assert concurrency.slots.read(MODEL_LIMIT).holders == {f"{TENANT}/{job.id}": job.revision}


def test_limit_of_a_model_is_shared_by_tenants() -> None:
    concurrency = make_concurrency(model=1)

    assert send(concurrency, concurrency.create_job(entry_name=MODEL)) is not None
    assert send(concurrency, concurrency.create_job(entry_name=MODEL, tenant="globex")) is None


def test_default_applies_to_tenants_without_a_limit_of_their_own() -> None:
    concurrency = Concurrency(default_for_tenants=1)
    concurrency.tenant_limits.put("globex", 2)

    assert send(concurrency, concurrency.create_job()) is not None
    assert send(concurrency, concurrency.create_job()) is None
    assert [send(concurrency, concurrency.create_job(tenant="globex")) is not None for _ in range(3)] == [
        True,
        True,
        False,
    ]


def test_held_job_says_why_it_waits() -> None:
    concurrency = make_concurrency(tenant=1)
    send(concurrency, concurrency.create_job())
    job = concurrency.create_job()

    assert send(concurrency, job) is None

    held = concurrency.read(job)
    assert held.status is JobStatus.QUEUED
    assert held.waiting is not None
    assert (held.waiting.reason, held.waiting.limit) == (WaitReason.CONCURRENCY_LIMIT, TENANT_LIMIT)
    assert held.waiting.max_concurrency == 1
    assert held.next_check_at == concurrency.clock.now() + timedelta(minutes=10)
    assert concurrency.slots.count_ahead(TENANT_LIMIT, job.id, at_most=10) == 0


def test_check_of_held_job_is_due_at_its_deadline() -> None:
    concurrency = make_concurrency(tenant=1)
    send(concurrency, concurrency.create_job())
    deadline = concurrency.clock.now() + timedelta(seconds=30)
    job = concurrency.create_job(deadline=deadline)

    send(concurrency, job)

    assert concurrency.read(job).next_check_at == deadline


def test_ended_job_hands_its_slot_to_the_oldest_that_waits() -> None:
    concurrency = make_concurrency(tenant=1)
    running = send(concurrency, concurrency.create_job())
    assert running is not None
    jobs = [concurrency.create_job(created_at=NOW + timedelta(seconds=age)) for age in (3, 1, 2)]
    for job in jobs:
        assert send(concurrency, job) is None

    end(concurrency, running)

    assert concurrency.queue.take_ids() == [jobs[1].id]
    newcomer = concurrency.create_job(created_at=NOW + timedelta(seconds=9))
    assert send(concurrency, newcomer) is None
    second = send(concurrency, jobs[1])
    assert second is not None
    assert second.waiting is None
    end(concurrency, second)
    assert concurrency.queue.take_ids() == [jobs[2].id]


def test_slot_that_is_freed_while_a_job_joins_the_line_is_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    concurrency = make_concurrency(tenant=1)
    running = send(concurrency, concurrency.create_job())
    assert running is not None
    join_line = concurrency.slots.join_line

    def end_and_join(limit_name: str, job: WaitingJob) -> None:
        end(concurrency, running)
        join_line(limit_name, job)

    job = concurrency.create_job()
    monkeypatch.setattr(concurrency.slots, "join_line", end_and_join)

    assert send(concurrency, job) is None
    assert concurrency.queue.take_ids() == [job.id]
    assert send(concurrency, job) is not None


@pytest.mark.parametrize("line", [None, 7])
def test_job_of_a_large_batch_goes_on_by_the_queue_of_batches(line: int | None) -> None:
    concurrency = make_concurrency(model=1)
    running = send(concurrency, concurrency.create_job(entry_name=MODEL))
    assert running is not None
    assert send(concurrency, concurrency.create_job(entry_name=MODEL, batch_line=line)) is None

    end(concurrency, running)

    assert [command.is_batched for command in concurrency.queue.commands] == [line is not None]


def test_job_that_waits_for_its_model_keeps_the_slot_of_its_tenant() -> None:
    concurrency = make_concurrency(tenant=2, model=1)
    running = send(concurrency, concurrency.create_job(entry_name=MODEL))
    assert running is not None
    job = concurrency.create_job(entry_name=MODEL)
    assert send(concurrency, job) is None
    assert concurrency.read(job).limits == (TENANT_LIMIT,)
    third = concurrency.create_job()
    assert send(concurrency, third) is None

    end(concurrency, running)

    assert sorted(concurrency.queue.take_ids()) == sorted([job.id, third.id])
    claimed = send(concurrency, job)
    assert claimed is not None
    assert claimed.limits == (TENANT_LIMIT, MODEL_LIMIT)


@pytest.mark.parametrize("is_granted", [True, False])
def test_job_that_must_wait_for_its_tenant_first_lets_others_have_the_slot_of_its_model(
    *, is_granted: bool
) -> None:
    """The limit of the tenant is set while its job waits for the model."""
    concurrency = make_concurrency(model=1)
    running = send(concurrency, concurrency.create_job(entry_name=MODEL, tenant="globex"))
    job = concurrency.create_job(entry_name=MODEL)
    other = concurrency.create_job(entry_name=MODEL, tenant="globex", created_at=NOW + timedelta(seconds=1))
    for waiting in (job, other):
        assert send(concurrency, waiting) is None
    concurrency.tenant_limits.put(TENANT, 1)
    first = send(concurrency, concurrency.create_job())
    assert first is not None
    assert running is not None
    if is_granted:
        end(concurrency, running)
        assert concurrency.queue.take_ids() == [job.id]

    assert send(concurrency, job) is None
    if not is_granted:
        end(concurrency, running)

    assert concurrency.queue.take_ids() == [other.id]
    assert send(concurrency, other) is not None
    end(concurrency, first)
    assert concurrency.queue.take_ids() == [job.id]
    assert send(concurrency, job) is None
    end(concurrency, other)
    assert concurrency.queue.take_ids() == [job.id]
    assert concurrency.gate.acquire(concurrency.read(job)) == (TENANT_LIMIT, MODEL_LIMIT)


def test_canceled_job_leaves_the_line_and_its_slots() -> None:
    concurrency = make_concurrency(tenant=2, model=1)
    running = send(concurrency, concurrency.create_job(entry_name=MODEL))
    assert running is not None
    job, other = concurrency.create_job(entry_name=MODEL), concurrency.create_job()
    for waiting in (job, other):
        assert send(concurrency, waiting) is None

    canceled = concurrency.apply(job, CancelRequested())

    assert canceled.status is JobStatus.CANCELED
    assert concurrency.slots.list_line(MODEL_LIMIT, count=10) == []
    assert concurrency.queue.take_ids() == [other.id]
    end(concurrency, running)
    assert concurrency.slots.read(MODEL_LIMIT).holders == {}


def test_canceled_job_frees_the_slot_that_it_was_granted() -> None:
    concurrency = make_concurrency(tenant=1)
    running = send(concurrency, concurrency.create_job())
    assert running is not None
    first, second = (concurrency.create_job() for _ in range(2))
    for job in sorted((first, second), key=lambda job: job.id):
        send(concurrency, job)
    end(concurrency, running)
    (granted_id,) = concurrency.queue.take_ids()
    granted, other = (first, second) if first.id == granted_id else (second, first)

    concurrency.apply(granted, CancelRequested())

    assert concurrency.queue.take_ids() == [other.id]


@pytest.mark.parametrize("is_granted", [False, True], ids=["waits", "was granted the slot"])
def test_job_that_falls_back_leaves_the_line_and_needs_no_slot_of_its_model(*, is_granted: bool) -> None:
    concurrency = make_concurrency(tenant=5, model=1)
    first = concurrency.create_job(entry_name=MODEL)
    assert send(concurrency, first) is not None
    second, third = (
        concurrency.create_job(
            entry_name=MODEL,
            fallbacks=(Fallback(submission=parse_target("acme/second")),),
            fallback_causes=tuple(FallbackCause),
            fallback_after_seconds=30,
        )
        for _ in range(2)
    )
    assert [send(concurrency, job) for job in (second, third)] == [None, None]
    concurrency.clock.advance(30)
    if is_granted:
        end(concurrency, first)

    concurrency.apply(second, QueueTimeExceeded(attempt=1))

    assert [waiting.job_id for waiting in concurrency.slots.list_line(MODEL_LIMIT, count=9)] == (
        [] if is_granted else [third.id]
    )
    holder = third if is_granted else first
    assert set(concurrency.slots.read(MODEL_LIMIT).holders) == {f"{TENANT}/{holder.id}"}
    claimed = send(concurrency, second)
    assert claimed is not None
    assert claimed.limits == (TENANT_LIMIT,)


def test_fallback_of_an_entry_without_a_limit_of_the_queue_time_needs_the_slot() -> None:
    concurrency = make_concurrency(model=1)
    past = PastAttempt(
        attempt=0,
        outcome=AttemptOutcome.FAILED,
        replicate_id="p0",
        error="",
        ended_at=NOW,
        target="acme/first",
    )

    job = concurrency.create_job(entry_name=MODEL, past_attempts=(past,))

    assert concurrency.gate.acquire(job) == (MODEL_LIMIT,)


def test_claim_of_changed_record_is_stale() -> None:
    concurrency = make_concurrency(tenant=1)
    job = concurrency.create_job()
    limits = concurrency.gate.acquire(job)
    assert limits is not None
    claim = Claimed(attempt=1, lease_until=NOW, limits=limits, revision=job.revision)
    send(concurrency, job)

    with pytest.raises(StaleChangeError):
        concurrency.updater.apply(replace(job, revision=job.revision + 7), claim)


def test_slots_are_given_back_unless_the_job_needs_them() -> None:
    concurrency = make_concurrency(tenant=1)
    job = concurrency.create_job()
    limits = concurrency.gate.acquire(job)
    assert limits is not None

    concurrency.gate.give_back(limits, replace(job, revision=job.revision + 1))
    assert concurrency.slots.read(TENANT_LIMIT).holders == {}

    claimed = send(concurrency, job)
    assert claimed is not None
    concurrency.gate.give_back(limits, claimed)
    assert len(concurrency.slots.read(TENANT_LIMIT).holders) == 1


def test_job_of_unknown_earlier_attempt_keeps_its_slot_in_the_queue() -> None:
    concurrency = make_concurrency(tenant=1)
    job = concurrency.create_job(past_attempts=(UNKNOWN_ATTEMPT,), limits=(TENANT_LIMIT,))
    concurrency.gate.acquire(job)

    concurrency.gate.give_back((TENANT_LIMIT,), replace(job, revision=job.revision + 1))

    assert len(concurrency.slots.read(TENANT_LIMIT).holders) == 1


def test_held_job_of_unknown_earlier_attempt_names_the_slots_that_it_keeps() -> None:
    concurrency = make_concurrency(model=1)
    assert send(concurrency, concurrency.create_job(entry_name=MODEL)) is not None
    job = concurrency.create_job(entry_name=MODEL, past_attempts=(UNKNOWN_ATTEMPT,), limits=(TENANT_LIMIT,))

    assert concurrency.gate.acquire(job) is None

    assert concurrency.read(job).limits == (TENANT_LIMIT,)


def test_paused_job_lets_others_go() -> None:
    concurrency = make_concurrency(model=1)
    running = send(concurrency, concurrency.create_job(entry_name=MODEL))
    assert running is not None
    paused = concurrency.create_job(entry_name=MODEL)
    other = concurrency.create_job(entry_name=MODEL, tenant="globex", created_at=NOW + timedelta(seconds=1))
    for job in (paused, other):
        assert send(concurrency, job) is None
    end(concurrency, running)
    assert concurrency.queue.take_ids() == [paused.id]

    current = concurrency.read(paused)
    concurrency.gate.step_aside(current, replace(current, waiting=None, revision=current.revision + 1))

    assert concurrency.queue.take_ids() == [other.id]


def test_paused_job_of_unknown_earlier_attempt_keeps_its_slot() -> None:
    concurrency = make_concurrency(tenant=1)
    job = concurrency.create_job(past_attempts=(UNKNOWN_ATTEMPT,), limits=(TENANT_LIMIT,))
    concurrency.gate.acquire(job)

    concurrency.gate.step_aside(job, replace(job, revision=job.revision + 1))

    assert len(concurrency.slots.read(TENANT_LIMIT).holders) == 1


@pytest.mark.parametrize("ends", [True, False], ids=["ends in the pause", "is sent after it"])
def test_job_that_is_paused_in_line_leaves_it_until_it_is_resumed(*, ends: bool) -> None:
    concurrency = make_concurrency(tenant=1)
    running = send(concurrency, concurrency.create_job())
    assert running is not None
    paused = concurrency.create_job(created_at=NOW + timedelta(seconds=1))
    assert send(concurrency, paused) is None

    pause(concurrency, paused)
    assert concurrency.slots.list_line(TENANT_LIMIT, count=10) == []

    last = concurrency.create_job(created_at=NOW + timedelta(seconds=2))
    assert send(concurrency, last) is None
    if ends:
        concurrency.apply(paused, CancelRequested())
    else:
        assert send(concurrency, paused) is None
    end(concurrency, running)
    assert concurrency.queue.take_ids() == [last.id if ends else paused.id]


def pause(concurrency: Concurrency, job: Job) -> None:
    """Dispatch the job of a paused tenant."""
    before = concurrency.read(job)
    change = CheckScheduled(
        expected_status=JobStatus.QUEUED,
        next_check_at=NOW,
        waiting=Waiting(reason=WaitReason.OPERATOR_PAUSE, until=NOW),
    )
    concurrency.gate.step_aside(before, concurrency.apply(before, change))
