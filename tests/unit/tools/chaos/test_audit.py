"""The count at the end of a chaos run finds what it is there to find."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from replicate_proxy.jobs.model import AttemptOutcome, Document, Job, JobStatus, PastAttempt
from tests.support.builders import make_job
from tools.chaos.application import Application, UnreliableInbox
from tools.chaos.audit import Findings, Sightings, audit
from tools.chaos.orders import TRANSIENT, Kind, Order
from tools.local.stack import Stack
from tools.simulator.client import SimulatorClient

PAST = PastAttempt(
    attempt=1,
    outcome=AttemptOutcome.FAILED,
    replicate_id="r0",
    error=TRANSIENT,
    ended_at=datetime(2026, 1, 1, tzinfo=UTC),
)

NOWHERE = Stack("", "", "", "", "", "", "", "", "", webhooks_enabled=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream(SimulatorClient):
    """What Replicate would say: creations by job, and its predictions by id."""

    url: str = "http://127.0.0.1:9"
    created: dict[str, int] = field(default_factory=dict)
    statuses: dict[str, str] = field(default_factory=dict)

    def get_stats(self) -> dict[str, Any]:
        return {"predictions_by_job": self.created}

    def call_control_api(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        return {"results": [{"id": id_, "status": status} for id_, status in self.statuses.items()]}


def succeeded(**changes: Any) -> Job:
    return replace(
        make_job(), id="j1", status=JobStatus.SUCCEEDED, replicate_id="r1", next_check_at=None, **changes
    )


def count(
    job: Job | None,
    *,
    kind: Kind = Kind.TEXT,
    created: int = 1,
    theirs: str = "succeeded",
    seen: frozenset[str] = frozenset(),
    doubles: tuple[str, ...] = (),
    webhook: bool = False,
) -> Findings:
    """One order, accepted as j1, against what is on record and what Replicate knows."""
    application = Application(NOWHERE, "", 0, accepted={0: "j1"}, doubles=list(doubles))
    sightings = Sightings()
    sightings.seen["j1"] |= seen
    return audit(
        application,
        [Order(0, "key", kind, 0.1, webhook)],
        {job.id: job} if job else {},
        sightings,
        Upstream(created={"j1": created}, statuses={"r1": theirs}),
        UnreliableInbox("whsec_AAAA", 0),
    )


def bars(found: Findings) -> tuple[int, int, int, int]:
    return len(found.lost), len(found.paid_twice), len(found.not_terminal), len(found.conflicting)


def test_a_job_that_went_well_breaks_no_promise() -> None:
    assert bars(count(succeeded())) == (0, 0, 0, 0)


def test_an_accepted_job_that_is_not_on_record_is_lost() -> None:
    assert bars(count(None)) == (1, 0, 0, 0)


def test_an_ending_that_nobody_ordered_is_a_lost_outcome() -> None:
    failed = replace(succeeded(), status=JobStatus.FAILED)

    assert bars(count(failed, theirs="failed")) == (1, 0, 0, 0)


def test_a_second_job_for_one_idempotency_key_is_told() -> None:
    assert count(succeeded(), doubles=("j2",)).lost == ["j2"]


def test_two_predictions_for_one_job_are_paid_twice() -> None:
    assert bars(count(succeeded(), created=2)) == (0, 1, 0, 0)


def test_a_fresh_attempt_after_a_transient_failure_is_told_apart() -> None:
    found = count(succeeded(past_attempts=(PAST,)), created=2)

    assert (bars(found), found.fresh_attempts) == ((0, 0, 0, 0), 1)


def test_a_resend_without_a_prediction_excuses_nothing() -> None:
    past = replace(PAST, outcome=AttemptOutcome.UNKNOWN, replicate_id=None)

    assert bars(count(succeeded(past_attempts=(past,)), created=2)) == (0, 1, 0, 0)


@pytest.mark.parametrize("status", [JobStatus.QUEUED, JobStatus.SUBMIT_UNKNOWN, JobStatus.HARVESTING])
def test_a_job_that_has_not_ended_is_stuck(status: JobStatus) -> None:
    assert bars(count(replace(succeeded(), status=status))) == (0, 0, 1, 0)


def test_a_final_state_that_changed_is_a_conflict() -> None:
    assert bars(count(succeeded(), seen=frozenset({"failed"}))) == (0, 0, 0, 1)


def test_a_final_state_that_replicate_contradicts_is_a_conflict() -> None:
    assert bars(count(succeeded(), theirs="canceled")) == (0, 0, 0, 1)


def test_an_application_that_was_never_told_is_named() -> None:
    assert count(succeeded(), webhook=True).untold == ["j1"]
    assert count(succeeded(), webhook=False).untold == []


def test_an_output_that_stayed_at_replicate_is_counted() -> None:
    left = Document(text='["http://127.0.0.1:5000/delivery/x/0/out.png"]')

    assert count(succeeded(output=left)).left_outputs == 1
