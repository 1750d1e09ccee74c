"""Which events a change of a job gives."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_proxy.contracts.predictions import PREDICTION_STATUS
from replicate_proxy.jobs.model import Document, Job, JobStatus
from replicate_proxy.webhooks.events import (
    build_sequence,
    derive_events,
    prediction_wants,
)
from replicate_proxy.webhooks.model import EventKind, JobChange
from replicate_proxy.webhooks.status_events import build_status_event
from tests.support.clock import NOW
from tests.support.webhook_builders import as_processing, as_succeeded, make_job

S = JobStatus
LOG = Document(text='"line 1"')


def kinds(old: Job | None, new: Job) -> list[str]:
    return [event.kind.value for event in derive_events(old, new)]


def in_status(status: JobStatus, **changes: object) -> Job:
    return make_job(status=status, **changes)


@pytest.mark.parametrize("status", [S.QUEUED, S.SUBMITTING, S.SUBMIT_UNKNOWN, S.SUBMITTED])
def test_nothing_is_told_before_a_prediction_runs(status: JobStatus) -> None:
    assert kinds(None, in_status(status)) == []
    assert kinds(in_status(S.QUEUED), in_status(status, revision=2)) == []


@pytest.mark.parametrize("status", [S.PROCESSING, S.HARVESTING])
def test_start_is_told_once(status: JobStatus) -> None:
    running = in_status(status, revision=2, started_at=NOW)
    assert kinds(in_status(S.SUBMITTED), running) == ["start"]
    assert kinds(running, replace(running, revision=3)) == []
    assert kinds(running, replace(running, revision=3, status=S.HARVESTING)) == []


def test_a_job_that_ended_unseen_had_a_start_too() -> None:
    job = in_status(S.SUBMITTED)
    assert kinds(job, as_succeeded(job)) == ["start", "output", "completed"]
    failed = replace(job, status=S.FAILED, revision=2)
    assert kinds(job, failed) == ["completed"]
    assert kinds(job, replace(failed, started_at=NOW)) == ["start", "completed"]


def test_logs_are_told_when_they_change() -> None:
    running = as_processing(in_status(S.SUBMITTED))
    logging = replace(running, revision=3, logs=LOG)
    assert kinds(running, logging) == ["logs"]
    assert kinds(logging, replace(logging, revision=4)) == []
    assert kinds(logging, as_succeeded(logging, logs=Document(text='"line 2"'))) == [
        "logs",
        "output",
        "completed",
    ]


def test_output_is_told_only_when_it_is_final() -> None:
    running = as_processing(in_status(S.SUBMITTED))
    found = replace(
        running, status=S.HARVESTING, revision=3, replicate_output=Document(text='"https://r.d/1.png"')
    )
    assert kinds(running, found) == []
    assert kinds(found, as_succeeded(found)) == ["output", "completed"]
    assert kinds(found, as_succeeded(found, output=None)) == ["completed"]


@pytest.mark.parametrize("status", [S.SUCCEEDED, S.FAILED, S.CANCELED])
def test_after_its_end_a_job_tells_nothing_more(status: JobStatus) -> None:
    ended = in_status(status, started_at=NOW)
    assert kinds(ended, replace(ended, revision=9, logs=LOG, output=LOG)) == []


def test_without_a_filter_output_and_completed_are_wanted() -> None:
    assert [kind.value for kind in EventKind if prediction_wants(make_job(), kind)] == ["output", "completed"]
    assert [kind.value for kind in EventKind if prediction_wants(make_job(webhook_events=()), kind)] == [
        "output",
        "completed",
    ]
    picky = make_job(webhook_events=("start", "logs"))
    assert [kind.value for kind in EventKind if prediction_wants(picky, kind)] == ["start", "logs"]


def test_a_replayed_record_gives_the_same_ids_and_another_record_others() -> None:
    job = make_job()
    again = derive_events(job, as_succeeded(job))
    assert derive_events(job, as_succeeded(job)) == again
    others = [
        derive_events(job, as_succeeded(replace(job, revision=5))),
        derive_events(replace(job, tenant="b"), as_succeeded(replace(job, tenant="b"))),
        derive_events(replace(job, id="x"), as_succeeded(replace(job, id="x"))),
    ]
    ids = [event.message_id for events in (again, *others) for event in events]
    assert len(set(ids)) == len(ids)
    assert all(event.startswith("msg_") for event in ids)


STATUSES = st.sampled_from(list(S))
JOBS = st.builds(
    lambda status, started, log, output: make_job(
        status=status,
        started_at=NOW if started else None,
        logs=Document(text=f'"{log}"') if log else None,
        output=Document(text='"x"') if output else None,
    ),
    STATUSES,
    st.booleans(),
    st.integers(0, 3),
    st.booleans(),
)


@given(st.lists(JOBS, min_size=1, max_size=12))
def test_over_any_history_sequences_grow_and_each_end_is_told_once(history: list[Job]) -> None:
    saved = [replace(job, revision=number + 1) for number, job in enumerate(history)]
    events = [
        event
        for old, new in zip([None, *saved], saved, strict=False)
        for event in derive_events(old, new)
        if not any(earlier.is_terminal for earlier in saved[: new.revision - 1])
    ]

    numbers = [event.sequence for event in events]
    assert numbers == sorted(set(numbers))
    told = [event.kind for event in events]
    assert told.count(EventKind.COMPLETED) == any(job.is_terminal for job in saved)
    assert EventKind.COMPLETED not in told[:-1]


def test_sequences_follow_the_kinds_within_one_change() -> None:
    order = [EventKind.START, EventKind.LOGS, EventKind.OUTPUT, EventKind.COMPLETED]
    numbers = [build_sequence(rev, kind) for rev in (1, 2, 3) for kind in order]
    assert numbers == sorted(set(numbers))


@given(STATUSES, STATUSES)
def test_the_bus_hears_of_what_a_client_can_see(old: JobStatus, new: JobStatus) -> None:
    event = build_status_event(JobChange(in_status(old), in_status(new, revision=2)), NOW)
    if PREDICTION_STATUS[old] == PREDICTION_STATUS[new]:
        assert event is None
        return
    assert event is not None
    assert event.data["previous_status"] == PREDICTION_STATUS[old]
    assert event.data["status"] == PREDICTION_STATUS[new]
    again = build_status_event(JobChange(in_status(old), in_status(new, revision=2)), NOW)
    assert again == event
