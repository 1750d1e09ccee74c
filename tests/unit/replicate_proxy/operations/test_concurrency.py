"""Concurrency limits by the admin API: jobs that wait go as soon as a change lets them."""

from __future__ import annotations

import pytest

from replicate_proxy.concurrency.model import name_tenant_limit
from replicate_proxy.jobs.model import Job
from tests.support.admin_api import AdminApi
from tests.support.builders import TENANT

PATH = f"tenants/{TENANT}/concurrency"
MODEL = "team/scarce"


@pytest.fixture
def admin_api() -> AdminApi:
    return AdminApi()


def hold_all(api: AdminApi, count: int, **fields: str) -> list[Job]:
    """Let one job take the slot and hold so many others; return those, oldest first."""
    jobs = sorted((api.concurrency.create_job(**fields) for _ in range(count + 1)), key=lambda job: job.id)
    taken, *held = [api.concurrency.gate.acquire(job) for job in jobs]
    assert taken
    assert held == [None] * count
    return jobs[1:]


def test_limit_is_put_read_and_deleted(admin_api: AdminApi) -> None:
    state = {"name": name_tenant_limit(TENANT), "max_concurrency": 3, "in_use": 0, "waiting": 0}

    assert admin_api.call("GET", PATH)[0] == 404
    assert admin_api.call("PUT", PATH, {"max_concurrency": 3}) == (200, state)
    assert admin_api.call("GET", PATH) == (200, state)
    assert admin_api.call("DELETE", PATH) == (204, None)
    assert admin_api.call("GET", PATH)[0] == 404
    assert admin_api.call("DELETE", PATH)[0] == 404


@pytest.mark.parametrize("number", [0, 501, "many", None])
def test_number_out_of_range_is_refused(admin_api: AdminApi, number: object) -> None:
    assert admin_api.call("PUT", PATH, {"max_concurrency": number})[0] == 422
    assert admin_api.call("PUT", "tenants/NO/concurrency", {"max_concurrency": 1})[0] == 422


def test_raised_limit_lets_the_first_waiting_job_go(admin_api: AdminApi) -> None:
    admin_api.call("PUT", PATH, {"max_concurrency": 1})
    jobs = hold_all(admin_api, 3)
    waiting = {"name": name_tenant_limit(TENANT), "max_concurrency": 1, "in_use": 1, "waiting": 3}
    assert admin_api.call("GET", "concurrency") == (200, {"results": [waiting]})

    _, state = admin_api.call("PUT", PATH, {"max_concurrency": 2})

    assert (state["in_use"], state["waiting"]) == (2, 2)
    assert admin_api.concurrency.queue.take_ids() == [jobs[0].id]


def test_deleted_limit_lets_all_waiting_jobs_go(admin_api: AdminApi) -> None:
    admin_api.call("PUT", PATH, {"max_concurrency": 1})
    jobs = hold_all(admin_api, 3)

    admin_api.call("DELETE", PATH)

    assert admin_api.concurrency.queue.take_ids() == [job.id for job in jobs]
    assert admin_api.call("GET", "concurrency") == (200, {"results": []})


def test_change_of_model_entry_lets_waiting_jobs_go(admin_api: AdminApi) -> None:
    admin_api.call("PUT", f"models/{MODEL}", {"max_concurrency": 1})
    jobs = hold_all(admin_api, 2, entry_name=MODEL)

    admin_api.call("PUT", f"models/{MODEL}", {"max_concurrency": 2})
    assert admin_api.concurrency.queue.take_ids() == [jobs[0].id]

    admin_api.call("PUT", "models", {"models": []})
    assert admin_api.concurrency.queue.take_ids() == [jobs[1].id]


def test_change_succeeds_although_waiting_jobs_cannot_be_sent(admin_api: AdminApi) -> None:
    admin_api.call("PUT", PATH, {"max_concurrency": 1})
    hold_all(admin_api, 1)
    admin_api.concurrency.queue.faults.fail("send_all")

    assert admin_api.call("PUT", PATH, {"max_concurrency": 2})[0] == 200


def test_limits_that_jobs_wait_for_are_listed_however_many_others_there_are(
    admin_api: AdminApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("replicate_proxy.operations.concurrency._MAX_LISTED", 2)
    for tenant in ("aaa", "aab", TENANT):
        admin_api.call("PUT", f"tenants/{tenant}/concurrency", {"max_concurrency": 1})
    hold_all(admin_api, 1)

    states = admin_api.concurrency.service.list_all(())

    assert [(state.name, state.waiting) for state in states] == [
        (name_tenant_limit(TENANT), 1),
        (name_tenant_limit("aaa"), 0),
    ]
