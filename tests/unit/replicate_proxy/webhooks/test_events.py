"""Which webhook events and status events a change of a job produces."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_proxy.contracts.predictions import PREDICTION_STATUS
from replicate_proxy.jobs.model import Document, Job, JobStatus
from replicate_proxy.webhooks.events import build_sequence, derive_events, matches_event_filter
from replicate_proxy.webhooks.model import EventKind, JobChange
from replicate_proxy.webhooks.status_events import build_status_event
from tests.support.clock import NOW
from tests.support.webhook_builders import as_processing, as_succeeded, make_job

S = JobStatus
LOGS = Document(text='"line 1"')
STATUSES = st.sampled_from(list(S))
JOBS = st.builds(
    lambda status, is_started, logs, has_output: make_job(
        status=status,
        started_at=NOW if is_started else None,
        logs=Document(text=f'"{logs}"') if logs else None,
        output=Document(text='"x"') if has_output else None,
    ),
    STATUSES,
    st.booleans(),
    st.integers(0, 3),
    st.booleans(),
)


def derive_kinds(old: Job | None, new: Job) -> list[str]:
    return [event.kind.value for event in derive_events(old, new)]


@pytest.mark.parametrize("status", [S.QUEUED, S.SUBMITTING, S.SUBMIT_UNKNOWN, S.SUBMITTED])
def test_no_event_before_prediction_runs(status: JobStatus) -> None:
    assert derive_kinds(None, make_job(status=status)) == []
    assert derive_kinds(make_job(status=S.QUEUED), make_job(status=status, revision=2)) == []


@pytest.mark.parametrize("status", [S.PROCESSING, S.HARVESTING])
def test_start_comes_once(status: JobStatus) -> None:
    running = make_job(status=status, revision=2, started_at=NOW)
    assert derive_kinds(make_job(status=S.SUBMITTED), running) == ["start"]
    assert derive_kinds(running, replace(running, revision=3)) == []
    assert derive_kinds(running, replace(running, revision=3, status=S.HARVESTING)) == []


def test_start_comes_with_completed_when_job_was_never_seen_running() -> None:
    job = make_job(status=S.SUBMITTED)
    assert derive_kinds(job, as_succeeded(job)) == ["start", "output", "completed"]
    failed = replace(job, status=S.FAILED, revision=2)
    assert derive_kinds(job, failed) == ["completed"]
    assert derive_kinds(job, replace(failed, started_at=NOW)) == ["start", "completed"]


def test_logs_come_when_they_change() -> None:
    running = as_processing(make_job(status=S.SUBMITTED))
    logging = replace(running, revision=3, logs=LOGS)
    assert derive_kinds(running, logging) == ["logs"]
    assert derive_kinds(logging, replace(logging, revision=4)) == []
    assert derive_kinds(logging, as_succeeded(logging, logs=Document(text='"line 2"'))) == [
        "logs",
        "output",
        "completed",
    ]


def test_output_comes_when_it_is_final() -> None:
    running = as_processing(make_job(status=S.SUBMITTED))
    harvesting = replace(
        running, status=S.HARVESTING, revision=3, replicate_output=Document(text='"https://r.d/1.png"')
    )
    assert derive_kinds(running, harvesting) == []
    assert derive_kinds(harvesting, as_succeeded(harvesting)) == ["output", "completed"]
    assert derive_kinds(harvesting, as_succeeded(harvesting, output=None)) == ["completed"]


@pytest.mark.parametrize("status", [S.SUCCEEDED, S.FAILED, S.CANCELED])
def test_no_event_after_job_has_ended(status: JobStatus) -> None:
    ended = make_job(status=status, started_at=NOW)
    assert derive_kinds(ended, replace(ended, revision=9, logs=LOGS, output=LOGS)) == []


@pytest.mark.parametrize(
    ("event_filter", "selected"),
    [
        (None, ["output", "completed"]),
        ((), ["output", "completed"]),
        (("start", "logs"), ["start", "logs"]),
    ],
)
def test_filter_of_prediction_selects_events(
    event_filter: tuple[str, ...] | None, selected: list[str]
) -> None:
    job = make_job(webhook_events=event_filter)
    assert [kind.value for kind in EventKind if matches_event_filter(job, kind)] == selected


def test_message_ids_repeat_for_the_same_change_only() -> None:
    job = make_job()
    events = derive_events(job, as_succeeded(job))
    assert derive_events(job, as_succeeded(job)) == events
    other_changes = [
        derive_events(job, as_succeeded(replace(job, revision=5))),
        derive_events(replace(job, tenant="b"), as_succeeded(replace(job, tenant="b"))),
        derive_events(replace(job, id="x"), as_succeeded(replace(job, id="x"))),
    ]
    message_ids = [event.message_id for change in (events, *other_changes) for event in change]
    assert len(set(message_ids)) == len(message_ids)
    assert all(message_id.startswith("msg_") for message_id in message_ids)


@given(st.lists(JOBS, min_size=1, max_size=12))
def test_any_history_has_growing_sequences_and_completed_at_most_once(history: list[Job]) -> None:
    saved = [replace(job, revision=number + 1) for number, job in enumerate(history)]
    events = [
        event
        for old, new in zip([None, *saved], saved, strict=False)
        for event in derive_events(old, new)
        if not any(earlier.is_terminal for earlier in saved[: new.revision - 1])
    ]

    sequences = [event.sequence for event in events]
    assert sequences == sorted(set(sequences))
    kinds = [event.kind for event in events]
    assert kinds.count(EventKind.COMPLETED) == any(job.is_terminal for job in saved)
    assert EventKind.COMPLETED not in kinds[:-1]


def test_sequences_follow_the_order_of_events_within_one_change() -> None:
    order = [EventKind.START, EventKind.LOGS, EventKind.OUTPUT, EventKind.COMPLETED]
    sequences = [build_sequence(revision, kind) for revision in (1, 2, 3) for kind in order]
    assert sequences == sorted(set(sequences))


@given(STATUSES, STATUSES)
def test_status_event_reports_what_clients_see(old: JobStatus, new: JobStatus) -> None:
    change = JobChange(make_job(status=old), make_job(status=new, revision=2))
    event = build_status_event(change, NOW)
    if PREDICTION_STATUS[old] == PREDICTION_STATUS[new]:
        assert event is None
        return
    assert event is not None
    assert event.data["previous_status"] == PREDICTION_STATUS[old]
    assert event.data["status"] == PREDICTION_STATUS[new]
    assert build_status_event(change, NOW) == event
