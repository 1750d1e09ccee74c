"""Submissions of unknown outcome: find the prediction, wait for it, resubmit the job, or give up."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from replicate_proxy.clock import format_timestamp, parse_timestamp
from replicate_proxy.jobs.model import Document, Job, JobStatus, Submission, SubmissionKind
from replicate_proxy.ports import PredictionClaim, PredictionOwner
from replicate_proxy.replicate_api.errors import OutcomeUnknownError
from replicate_proxy.services import resolve_submission
from tests.support.builders import VERSION
from tests.support.pipeline import Pipeline

S = JobStatus


@pytest.fixture
def pipeline() -> Pipeline:
    return Pipeline()


def accept_job_with_lost_request(pipeline: Pipeline, prompt: str = "a cat") -> Job:
    """Return a job whose create request did not reach Replicate, which is unknown here."""
    pipeline.replicate.faults.fail("create", error=OutcomeUnknownError("reset"))
    job = pipeline.accept_job(prompt).job
    pipeline.drain_messages()
    assert pipeline.get_job(job).status is S.SUBMIT_UNKNOWN
    return job


def accept_job_with_lost_response(pipeline: Pipeline, prompt: str = "a cat") -> Job:
    """Return a job whose prediction was created, which is unknown here."""
    pipeline.replicate.faults.fail("create_response", error=OutcomeUnknownError("reset"))
    job = pipeline.accept_job(prompt).job
    pipeline.drain_messages()
    return job


def test_job_is_resubmitted_after_timeout_when_nothing_is_found(pipeline: Pipeline) -> None:
    job = accept_job_with_lost_request(pipeline)
    pipeline.pass_time(pipeline.timeouts.resubmit_after_seconds - 30)
    assert pipeline.replicate.predictions == {}

    pipeline.pass_time(120)

    assert (pipeline.get_job(job).status, pipeline.get_job(job).attempt) == (S.SUBMITTED, 2)


def test_job_is_not_resubmitted_while_list_is_unavailable(pipeline: Pipeline) -> None:
    job = accept_job_with_lost_request(pipeline)
    pipeline.replicate.faults.fail("list", times=1000)

    pipeline.pass_time(1800)

    assert pipeline.replicate.predictions == {}
    assert pipeline.get_job(job).status is S.SUBMIT_UNKNOWN


def test_job_fails_after_maximum_of_resubmissions(pipeline: Pipeline) -> None:
    job = accept_job_with_lost_request(pipeline)
    pipeline.replicate.faults.fail("create", times=1000, error=OutcomeUnknownError("reset"))

    pipeline.pass_time(3600)

    assert pipeline.get_job(job).status is S.FAILED
    assert len(pipeline.get_job(job).past_attempts) == pipeline.timeouts.max_resubmissions


def test_job_fails_when_match_has_no_data_left(pipeline: Pipeline) -> None:
    # Given that Replicate could not be asked until it had deleted the inputs
    job = accept_job_with_lost_response(pipeline)
    pipeline.replicate.finish("p1")
    pipeline.replicate.faults.fail("list", times=1000)
    pipeline.pass_time(7200)
    pipeline.replicate.faults.planned.clear()
    pipeline.replicate.remove_data(older_than=timedelta(hours=1))

    pipeline.pass_time(3600)

    assert len(pipeline.replicate.predictions) == 1
    assert pipeline.get_job(job).status is S.FAILED
    assert "paid twice" in (pipeline.get_job(job).error or "")


def test_job_takes_prediction_that_it_claimed_before_crash(pipeline: Pipeline) -> None:
    # Given two identical requests of unknown outcome, of which the later had claimed the older prediction
    jobs = []
    for _ in range(2):
        jobs.append(accept_job_with_lost_response(pipeline))
        pipeline.clock.advance(5)
    pipeline.store.claim_prediction("p1", "acme", jobs[1].id, now=pipeline.clock.now())

    # When the later job is checked first
    pipeline.check_handlers[S.SUBMIT_UNKNOWN](pipeline.get_job(jobs[1]))
    pipeline.pass_time(300)

    # Then each job has a prediction, and the later one that which it had claimed
    assert {pipeline.get_job(job).replicate_id for job in jobs} == {"p1", "p2"}
    assert pipeline.get_job(jobs[1]).replicate_id == "p1"


def test_job_does_not_take_prediction_whose_webhook_names_another(pipeline: Pipeline) -> None:
    # Given a create request whose response is lost and whose webhook arrives
    named_job = accept_job_with_lost_response(pipeline)
    pipeline.replicate.start("p1")
    pipeline.send_webhook("p1")
    pipeline.drain_messages()

    # When an identical request did not reach Replicate, and its prediction is searched for
    other_job = accept_job_with_lost_request(pipeline)
    pipeline.pass_time(pipeline.timeouts.resubmit_after_seconds + 120)

    assert pipeline.get_job(named_job).replicate_id == "p1"
    assert pipeline.get_job(other_job).replicate_id == "p2"


@pytest.mark.parametrize("version", [VERSION, f"acme/model:{VERSION}"], ids=["id", "model_and_id"])
def test_prediction_is_found_when_replicate_hides_its_version(pipeline: Pipeline, version: str) -> None:
    pipeline.replicate.faults.fail("create_response", error=OutcomeUnknownError("reset"))
    job = pipeline.put_job(submission=Submission(kind=SubmissionKind.VERSION, version=version))
    pipeline.dispatch_job(job)
    pipeline.replicate.predictions["p1"]["version"] = "hidden"

    pipeline.pass_time(600)

    assert (pipeline.get_job(job).replicate_id, len(pipeline.replicate.predictions)) == ("p1", 1)


def test_prediction_of_a_deployment_is_found_although_the_list_does_not_name_it(pipeline: Pipeline) -> None:
    pipeline.replicate.faults.fail("create_response", error=OutcomeUnknownError("reset"))
    deployment = Submission(kind=SubmissionKind.DEPLOYMENT, owner="acme", name="deployed")
    job = pipeline.dispatch_job(pipeline.put_job(submission=deployment))
    pipeline.replicate.predictions["p1"].update(model="acme/model", version="hidden")

    pipeline.pass_time(600)

    assert (pipeline.get_job(job).replicate_id, len(pipeline.replicate.predictions)) == ("p1", 1)


def test_prediction_of_other_model_is_not_taken_when_version_is_hidden(pipeline: Pipeline) -> None:
    job = accept_job_with_lost_request(pipeline)
    pipeline.store.save(replace(pipeline.get_job(job), model="acme/other"))
    _list_prediction(pipeline, "p7", "acme/model", pipeline.clock.now())

    pipeline.pass_time(600)

    assert pipeline.get_job(job).replicate_id not in {None, "p7"}


def test_prediction_of_other_model_is_not_taken_when_the_request_names_the_model(pipeline: Pipeline) -> None:
    named = Submission(kind=SubmissionKind.VERSION, version=f"acme/model:{VERSION}")
    job = _put_doubtful_job(pipeline, "acme", submission=named)
    _list_prediction(pipeline, "p7", "acme/other", pipeline.clock.now())

    pipeline.pass_time(1200)

    assert pipeline.get_job(job).replicate_id not in {None, "p7"}


def test_prediction_is_found_on_later_page(pipeline: Pipeline) -> None:
    job = accept_job_with_lost_response(pipeline, "mine")
    for number in range(350):
        pipeline.dispatch_job(
            pipeline.put_job(id=f"{number:026d}", input=Document(text=f'{{"prompt": "{number}"}}'))
        )

    pipeline.pass_time(300)

    assert pipeline.get_job(job).replicate_id == "p1"


def _list_prediction(pipeline: Pipeline, replicate_id: str, model: str, created_at: datetime) -> None:
    """Let Replicate list a prediction that no job here has created, of hidden version."""
    pipeline.replicate.predictions[replicate_id] = {
        "id": replicate_id,
        "model": model,
        "version": "hidden",
        "status": "starting",
        "input": {"prompt": "a cat"},
        "output": None,
        "error": None,
        "logs": "",
        "metrics": {},
        "created_at": format_timestamp(created_at),
    }


def test_listed_prediction_with_invalid_webhook_does_not_stop_the_search(pipeline: Pipeline) -> None:
    # Given a prediction of other software in the account, whose webhook is no URL
    job = accept_job_with_lost_request(pipeline)
    _list_prediction(pipeline, "p7", "other/app", pipeline.clock.now())
    pipeline.replicate.predictions["p7"]["webhook"] = "https://[example.com]/hook"

    pipeline.pass_time(pipeline.timeouts.resubmit_after_seconds + 120)

    assert (pipeline.get_job(job).status, pipeline.get_job(job).attempt) == (S.SUBMITTED, 2)


def test_prediction_is_found_beside_an_unreadable_entry(pipeline: Pipeline) -> None:
    job = accept_job_with_lost_response(pipeline)
    pipeline.replicate.unreadable_entries = [{"id": "p8"}]

    pipeline.pass_time(600)

    assert (pipeline.get_job(job).status, pipeline.get_job(job).replicate_id) == (S.SUBMITTED, "p1")


def test_job_is_never_resubmitted_while_an_unreadable_entry_may_be_its_own(pipeline: Pipeline) -> None:
    # Given a prediction of other software, and one that has no ID in the list
    job = accept_job_with_lost_request(pipeline)
    _list_prediction(pipeline, "p7", "other/app", pipeline.clock.now())
    pipeline.replicate.predictions["p7"]["webhook"] = "https://example.com/hook"
    pipeline.replicate.unreadable_entries = [{"status": "starting"}]

    pipeline.pass_time(600)
    assert pipeline.get_job(job).status is S.SUBMIT_UNKNOWN
    pipeline.pass_time(1200)

    assert pipeline.get_job(job).status is S.FAILED
    assert pipeline.get_job(job).attempt == 1
    assert pipeline.replicate.predictions.keys() == {"p7"}


@pytest.mark.parametrize(
    "fields",
    [
        {"created_at": None},
        {"created_at": "yesterday"},
        {"input": None},
        {"version": None},
        {"version": "hidden", "model": None, "input": None},
        {"created_at": None, "input": None, "model": None, "version": None},
    ],
)
def test_job_is_not_resubmitted_while_its_own_may_be_an_entry_that_lacks_fields(
    pipeline: Pipeline, fields: dict[str, Any]
) -> None:
    job = accept_job_with_lost_response(pipeline)
    entry = pipeline.replicate.predictions.pop("p1")
    pipeline.replicate.unreadable_entries = [{**entry, **fields}]

    pipeline.pass_time(600)
    assert pipeline.get_job(job).status is S.SUBMIT_UNKNOWN
    pipeline.pass_time(1200)

    assert (pipeline.get_job(job).status, pipeline.get_job(job).attempt) == (S.FAILED, 1)
    assert pipeline.replicate.predictions == {}


@pytest.mark.parametrize("fields", [{"input": {"prompt": "a dog"}}, {"created_at": "2020-01-01T00:00:00Z"}])
def test_job_is_resubmitted_if_what_an_entry_shows_is_of_another(
    pipeline: Pipeline, fields: dict[str, Any]
) -> None:
    job = accept_job_with_lost_response(pipeline)
    entry = pipeline.replicate.predictions.pop("p1")
    pipeline.replicate.unreadable_entries = [{**entry, "model": None, **fields}]

    pipeline.pass_time(pipeline.timeouts.resubmit_after_seconds + 120)

    assert (pipeline.get_job(job).status, pipeline.get_job(job).attempt) == (S.SUBMITTED, 2)


def test_job_ends_that_was_sent_among_more_predictions_than_can_be_searched(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolve_submission, "_MAX_PAGES", 1)
    job = accept_job_with_lost_request(pipeline)
    for number in range(101):
        _list_prediction(pipeline, f"p{number}", "other/app", pipeline.clock.now())
        pipeline.replicate.predictions[f"p{number}"]["webhook"] = "https://example.com/hook"

    pipeline.pass_time(600)
    assert pipeline.get_job(job).status is S.SUBMIT_UNKNOWN
    pipeline.pass_time(1200)

    assert (pipeline.get_job(job).status, pipeline.get_job(job).attempt) == (S.FAILED, 1)
    assert len(pipeline.replicate.predictions) == 101


def test_prediction_is_not_adopted_among_more_active_jobs_than_can_be_read(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolve_submission, "_MAX_RIVALS", 1)
    job = accept_job_with_lost_response(pipeline)

    pipeline.pass_time(600)
    assert pipeline.get_job(job).status is S.SUBMIT_UNKNOWN
    pipeline.pass_time(1200)

    assert (pipeline.get_job(job).status, pipeline.get_job(job).replicate_id) == (S.FAILED, None)
    assert len(pipeline.replicate.predictions) == 1


def _put_doubtful_job(pipeline: Pipeline, tenant: str, **fields: Any) -> Job:
    """Store a job whose create request has an unknown outcome."""
    now = pipeline.clock.now()
    return pipeline.put_job(
        S.SUBMIT_UNKNOWN, tenant=tenant, create_sent_at=now, next_check_at=now, created_at=now, **fields
    )


def test_prediction_is_not_adopted_while_equal_job_of_other_tenant_is_in_doubt(pipeline: Pipeline) -> None:
    # Given one prediction and equal requests of two tenants, and no callback that tells whose it is
    accept_job_with_lost_response(pipeline)
    other = _put_doubtful_job(pipeline, "globex")

    pipeline.pass_time(1800)

    # Then neither tenant gets what may be the other's, and nothing is paid twice
    assert len(pipeline.replicate.predictions) == 1
    assert {job.status for job in pipeline.store.jobs.values()} == {S.FAILED}
    assert all("paid twice" in (job.error or "") for job in pipeline.store.jobs.values())
    assert pipeline.get_job(other).replicate_id is None


def test_prediction_is_not_adopted_before_the_index_shows_all_that_may_have_created_it(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a job that was not sent, and an equal one of another tenant that is created before the last look
    early = accept_job_with_lost_request(pipeline)
    pipeline.pass_time(pipeline.timeouts.resubmit_after_seconds - 10)
    late = _put_doubtful_job(pipeline, "globex", id="z" * 26)
    created_at = pipeline.clock.now()
    _list_prediction(pipeline, "p9", "acme/model", created_at)
    # and that the index of active jobs does not show yet
    list_due_jobs = pipeline.store.list_due_jobs

    def list_with_lag(**options: Any) -> Any:
        is_shown = pipeline.clock.now() - created_at > timedelta(seconds=90)
        return [row for row in list_due_jobs(**options) if is_shown or row.id != late.id]

    monkeypatch.setattr(pipeline.store, "list_due_jobs", list_with_lag)

    pipeline.pass_time(1800)

    assert pipeline.get_job(early).replicate_id is None


def test_prediction_is_not_adopted_while_not_all_active_jobs_can_be_read(pipeline: Pipeline) -> None:
    job = accept_job_with_lost_response(pipeline)
    faults = pipeline.store.faults
    faults.fail("list_all_due_jobs", times=1000)

    pipeline.pass_time(600)
    assert len(faults.planned["list_all_due_jobs"]) < 1000
    assert pipeline.get_job(job).replicate_id is None

    faults.planned.clear()
    pipeline.pass_time(600)
    assert pipeline.get_job(job).replicate_id == "p1"


def test_prediction_that_an_ended_job_may_own_is_not_adopted_later(pipeline: Pipeline) -> None:
    job = accept_job_with_lost_response(pipeline)
    _put_doubtful_job(pipeline, "globex")
    pipeline.pass_time(1800)
    assert pipeline.get_job(job).status is S.FAILED

    # When a third job with an equal request was sent in the same minutes
    late = _put_doubtful_job(pipeline, "initech", id="z" * 26)
    pipeline.store.put(replace(late, create_sent_at=job.created_at))
    pipeline.pass_time(3600)

    assert pipeline.get_job(late).status is S.FAILED
    assert len(pipeline.replicate.predictions) == 1


def test_adopted_prediction_goes_back_to_job_that_callback_names(pipeline: Pipeline) -> None:
    # Given a job that adopted the prediction of another one of its tenant
    owner = accept_job_with_lost_response(pipeline)
    adopter = pipeline.put_job(S.SUBMITTED, replicate_id="p1", create_sent_at=pipeline.clock.now())
    adopted = PredictionOwner(adopter.tenant, adopter.id, PredictionClaim.ADOPTED)
    pipeline.store.put_owner("p1", adopted)

    # When the callback of the prediction arrives
    pipeline.replicate.start("p1")
    pipeline.send_webhook("p1")
    pipeline.drain_messages()

    # Then it belongs to the job that the callback names, and the adopter is of unknown outcome
    assert pipeline.get_job(owner).replicate_id == "p1"
    assert (pipeline.get_job(adopter).status, pipeline.get_job(adopter).replicate_id) == (
        S.SUBMIT_UNKNOWN,
        None,
    )
    certain = PredictionOwner(owner.tenant, owner.id, PredictionClaim.CERTAIN)
    assert pipeline.store.get_prediction_owner("p1") == certain


@pytest.mark.parametrize(
    ("claim", "is_taken"), [(PredictionClaim.ADOPTED, True), (PredictionClaim.CERTAIN, False)]
)
def test_claim_takes_prediction_from_a_deleted_adopter_but_not_from_its_owner(
    pipeline: Pipeline, claim: PredictionClaim, *, is_taken: bool
) -> None:
    job = pipeline.put_job(S.SUBMITTED)
    earlier = PredictionOwner("globex", "0" * 26, claim)
    pipeline.store.put_owner("p1", earlier)

    pipeline.updater.claim_prediction(job, "p1")

    own = PredictionOwner(job.tenant, job.id, PredictionClaim.CERTAIN)
    assert pipeline.store.get_prediction_owner("p1") == (own if is_taken else earlier)


def test_of_two_equal_jobs_of_one_tenant_the_other_waits_for_its_own_prediction(pipeline: Pipeline) -> None:
    # Given equal jobs, of which only one reached Replicate
    accept_job_with_lost_response(pipeline)
    accept_job_with_lost_request(pipeline)

    pipeline.pass_time(pipeline.timeouts.resubmit_after_seconds + 300)
    assert len(pipeline.replicate.predictions) == 1
    pipeline.pass_time(1800)

    # Then each has a prediction of its own in the end, and no more were created than there are jobs
    assert {job.replicate_id for job in pipeline.store.jobs.values()} == {"p1", "p2"}


def test_job_whose_own_prediction_may_be_disputed_takes_none_from_an_equal_job(pipeline: Pipeline) -> None:
    # Given a prediction that a job of another tenant disputes, and a later one of an equal job
    early = accept_job_with_lost_response(pipeline)
    pipeline.store.dispute_prediction("p1", "globex", "ended", now=pipeline.clock.now())
    pipeline.clock.advance(200)
    late = accept_job_with_lost_response(pipeline)
    # which lies outside of the window in which the later job's may have been created
    assert set(pipeline.replicate.predictions) == {"p1", "p2"}

    pipeline.pass_time(3600)

    # Then the earlier job is given up: with p2 taken, the later one would have been sent again
    assert pipeline.get_job(early).replicate_id is None
    assert pipeline.get_job(late).replicate_id in {None, "p2"}
    assert set(pipeline.replicate.predictions) == {"p1", "p2"}


def test_job_leaves_the_later_prediction_to_an_equal_job_that_was_sent_later(pipeline: Pipeline) -> None:
    # Given that Replicate's clock is behind ours, and two equal jobs
    first = accept_job_with_lost_response(pipeline)
    pipeline.clock.advance(30)
    second = accept_job_with_lost_response(pipeline)
    for prediction in pipeline.replicate.predictions.values():
        created_at = parse_timestamp(prediction["created_at"]) - timedelta(seconds=20)
        prediction["created_at"] = format_timestamp(created_at)

    # When the first one is checked, to whose sending the prediction of the second one is closer
    pipeline.pass_time(1800)

    # Then it adopts the one that the second job, which looks for later ones, does not find
    assert pipeline.get_job(first).replicate_id == "p1"
    assert pipeline.get_job(second).replicate_id == "p2"
    assert set(pipeline.replicate.predictions) == {"p1", "p2"}


def test_prediction_is_not_adopted_that_only_a_job_of_another_tenant_shares(pipeline: Pipeline) -> None:
    # Given a job of a deployment, which does not tell the model, and predictions of two models
    now = pipeline.clock.now()
    deployment = Submission(kind=SubmissionKind.DEPLOYMENT, owner="acme", name="deployed")
    job = _put_doubtful_job(pipeline, "acme", submission=deployment)
    for replicate_id, model, seconds in (("p8", "acme/first", 1), ("p9", "acme/second", 9)):
        _list_prediction(pipeline, replicate_id, model, now + timedelta(seconds=seconds))
    # and a job of another tenant that may have created the closer one
    other = Submission(kind=SubmissionKind.MODEL, owner="acme", name="first")
    _put_doubtful_job(pipeline, "globex", id="z" * 26, submission=other)

    pipeline.pass_time(1800)

    assert pipeline.get_job(job).replicate_id != "p8"
