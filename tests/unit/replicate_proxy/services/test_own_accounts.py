"""A job stays in the account in which it started, whatever becomes of the tenant's token meanwhile."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from replicate_proxy.contracts.predictions import build_prediction_view
from replicate_proxy.jobs.model import Account, AttemptOutcome, Cost, JobStatus, PastAttempt
from replicate_proxy.replicate_api.errors import (
    NotAcceptedError,
    OutcomeUnknownError,
    ThrottledError,
    TokenRejectedError,
)
from replicate_proxy.usage.model import UsageCounts
from tests.support.builders import TENANT, make_job
from tests.support.clock import NOW
from tests.support.pipeline import Pipeline

if TYPE_CHECKING:
    from replicate_proxy.jobs.model import Job
    from tests.support.replicate import FakeReplicate

OWN = Account(TENANT, "own")
OTHER = Account(TENANT, "other")
REJECTED = TokenRejectedError("Replicate rejects our token", retry_after=60)


@pytest.fixture
def pipeline() -> Pipeline:
    """The pipeline, for a tenant that has brought an account."""
    pipeline = Pipeline()
    pipeline.own_accounts[TENANT] = OWN.name
    return pipeline


@pytest.fixture
def own(pipeline: Pipeline) -> FakeReplicate:
    return pipeline.own_replicates[OWN]


def start(pipeline: Pipeline) -> Job:
    job = pipeline.accept_job().job
    pipeline.drain_messages()
    return pipeline.get_job(job)


def test_prediction_is_created_in_the_account_of_its_tenant(pipeline: Pipeline, own: FakeReplicate) -> None:
    job = start(pipeline)
    assert (job.status, job.replicate_account) == (JobStatus.SUBMITTED, "own")
    assert list(own.predictions) == ["p1"]
    assert "account=own" in own.webhooks["p1"]
    assert pipeline.replicate.predictions == {}


def test_running_job_is_polled_and_canceled_where_it_started(pipeline: Pipeline, own: FakeReplicate) -> None:
    job = start(pipeline)
    del pipeline.own_accounts[TENANT]
    own.start("p1")
    pipeline.pass_time(400)
    assert pipeline.get_job(job).status is JobStatus.PROCESSING

    pipeline.canceler.request_cancel(pipeline.get_job(job))
    pipeline.drain_messages()
    assert pipeline.get_job(job).status is JobStatus.CANCELED
    assert own.canceled == ["p1"]


def test_fallback_of_a_job_that_was_never_sent_runs_in_the_account_of_its_tenant(
    pipeline: Pipeline,
) -> None:
    held = PastAttempt(attempt=1, outcome=AttemptOutcome.NOT_SENT, replicate_id=None, error="", ended_at=NOW)

    job = pipeline.dispatch_job(pipeline.put_job(attempt=2, past_attempts=(held,)))

    assert job.replicate_account == OWN.name


def test_unknown_outcome_is_resolved_and_sent_again_in_the_same_account(
    pipeline: Pipeline, own: FakeReplicate
) -> None:
    own.faults.fail("create", error=OutcomeUnknownError("Replicate answered 500"))
    job = start(pipeline)
    assert job.status is JobStatus.SUBMIT_UNKNOWN
    pipeline.own_accounts[TENANT] = OTHER.name
    pipeline.pass_time(400)

    job = pipeline.get_job(job)
    assert (job.attempt, job.replicate_account) == (2, "own")
    assert list(own.predictions) == ["p1"]
    assert pipeline.own_replicates[OTHER].predictions == {}


def test_prediction_of_unknown_outcome_is_found_in_the_list_of_its_account(
    pipeline: Pipeline, own: FakeReplicate
) -> None:
    own.faults.fail("create_response", error=OutcomeUnknownError("no response"))
    job = start(pipeline)
    del pipeline.own_accounts[TENANT]
    pipeline.pass_time(400)
    assert pipeline.get_job(job).replicate_id == "p1"
    assert len(own.predictions) == 1


@pytest.mark.parametrize(
    "error", [REJECTED, NotAcceptedError("could not reach"), ThrottledError("429", retry_after=1)]
)
def test_request_that_was_not_accepted_may_be_sent_to_another_account(
    pipeline: Pipeline, own: FakeReplicate, error: Exception
) -> None:
    own.faults.fail("create", error=error)
    job = start(pipeline)
    assert job.status is JobStatus.QUEUED
    pipeline.own_accounts[TENANT] = OTHER.name
    pipeline.pass_time(300)
    job = pipeline.get_job(job)
    assert (job.status, job.replicate_account) == (JobStatus.SUBMITTED, "other")
    assert own.predictions == {}


def test_limits_and_errors_of_an_account_do_not_concern_other_tenants(
    pipeline: Pipeline, own: FakeReplicate
) -> None:
    own.create_delay_seconds = 60
    waiting = start(pipeline)
    assert waiting.status is JobStatus.QUEUED
    other = pipeline.store.put(replace(make_job(), tenant="globex", id=waiting.id))
    assert pipeline.dispatch_job(other).status is JobStatus.SUBMITTED
    assert list(pipeline.replicate.predictions) == ["p1"]


def test_equal_prediction_ids_of_two_accounts_are_claimed_apart(pipeline: Pipeline) -> None:
    first = start(pipeline)
    del pipeline.own_accounts[TENANT]
    second = start(pipeline)
    assert first.replicate_id == second.replicate_id == "p1"
    owners = [pipeline.store.get_prediction_owner(job.account.qualify("p1")) for job in (first, second)]
    assert [owner and owner.job_id for owner in owners] == [first.id, second.id]


def test_report_from_another_account_is_ignored(pipeline: Pipeline, own: FakeReplicate) -> None:
    job = start(pipeline)
    own.finish("p1", "succeeded")
    pipeline.store.put(replace(job, replicate_account="other"))
    pipeline.send_webhook("p1", replicate=own)
    pipeline.drain_messages()
    assert pipeline.get_job(job).status is JobStatus.SUBMITTED


@pytest.mark.parametrize("status", [JobStatus.PROCESSING, JobStatus.SUBMIT_UNKNOWN])
def test_job_of_an_account_that_stays_lost_ends_after_a_day(
    pipeline: Pipeline, own: FakeReplicate, status: JobStatus
) -> None:
    now = pipeline.clock.now()
    own.faults.fail("get", error=REJECTED, times=1000)
    own.faults.fail("list", error=REJECTED, times=1000)
    job = pipeline.put_job(
        status,
        replicate_id="p1" if status is JobStatus.PROCESSING else None,
        replicate_account="own",
        create_sent_at=now,
        next_check_at=now,
    )
    pipeline.pass_time(23 * 3600, step_seconds=600)
    assert pipeline.get_job(job).status is status
    pipeline.pass_time(3 * 3600, step_seconds=600)
    job = pipeline.get_job(job)
    assert job.status is JobStatus.FAILED
    assert "token of the Replicate account" in (job.error or "")
    assert own.predictions == {}


def test_job_of_the_shared_account_waits_for_its_token(pipeline: Pipeline) -> None:
    now = pipeline.clock.now()
    pipeline.replicate.faults.fail("get", error=REJECTED, times=1000)
    sent_at = now - timedelta(hours=30)
    job = pipeline.put_job(JobStatus.PROCESSING, replicate_id="p1", create_sent_at=sent_at, next_check_at=now)
    pipeline.pass_time(300)
    assert pipeline.get_job(job).status is JobStatus.PROCESSING


def test_cost_says_that_the_tenant_is_billed() -> None:
    cost = Cost(micro_usd=3000, basis="1 image x $0.003")
    own = make_job(JobStatus.SUCCEEDED, replicate_account="own", cost=cost)
    shared = replace(own, replicate_account="")

    view = build_prediction_view(own, input={})["proxy"]
    assert (view["cost"]["billed_to"], view["replicate_account"]) == ("tenant", "own")
    view = build_prediction_view(shared, input={})["proxy"]
    assert "billed_to" not in view["cost"]
    assert "replicate_account" not in view
    assert UsageCounts.from_job(own).tenant_billed_micro_usd == 3000
    assert UsageCounts.from_job(shared).tenant_billed_micro_usd == 0
    unknown = build_prediction_view(replace(own, cost=Cost(reason="no price")), input={})
    assert unknown["proxy"]["cost"] == {"usd": None, "reason": "no price", "billed_to": "tenant"}
