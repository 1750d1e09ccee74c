"""The workload of a chaos run."""

from collections import Counter

import pytest

from tools.chaos.workload import (
    EXPECTED_STATUSES,
    MODEL_ENTRIES,
    REJECTION_MARKER,
    JobKind,
    group_into_requests,
    plan_jobs,
)


def test_plan_is_the_same_for_same_seed_and_differs_for_another() -> None:
    assert plan_jobs(200, 1) == plan_jobs(200, 1)
    assert [job.kind for job in plan_jobs(200, 1)] != [job.kind for job in plan_jobs(200, 2)]


def test_plan_has_jobs_of_every_kind_and_each_kind_one_expected_status() -> None:
    counts = Counter(job.kind for job in plan_jobs(1000, 3))

    assert set(counts) == set(JobKind) == set(EXPECTED_STATUSES)
    assert min(counts.values()) > 30
    assert all(len(statuses) == 1 for statuses in EXPECTED_STATUSES.values())


def test_jobs_have_unique_idempotency_keys() -> None:
    assert len({job.idempotency_key for job in plan_jobs(1000, 1)}) == 1000


def test_body_has_rejection_marker_only_for_rejected_jobs() -> None:
    for job in plan_jobs(200, 1):
        body = job.build_body("http://127.0.0.1/hook")
        assert (REJECTION_MARKER in str(body)) == (job.kind is JobKind.REJECTED)


def test_body_has_webhook_only_when_job_wants_one() -> None:
    for job in plan_jobs(50, 1):
        assert ("webhook" in job.build_body("http://127.0.0.1/hook")) == job.wants_webhook


def test_only_jobs_that_fall_back_name_the_model_with_a_fallback() -> None:
    for job in plan_jobs(200, 1):
        body = job.build_body("http://127.0.0.1/hook")
        assert (body["version"] in MODEL_ENTRIES) == (job.kind is JobKind.FALLBACK)


@pytest.mark.parametrize("count", [1, 4, 20, 23, 100])
def test_requests_contain_every_job_once_and_a_quarter_in_batches(count: int) -> None:
    planned = plan_jobs(count, 1)
    requests = group_into_requests(planned)
    assert [job for jobs in requests for job in jobs] == list(planned)
    assert count < 20 or sum(len(jobs) for jobs in requests if len(jobs) > 1) >= count // 4
