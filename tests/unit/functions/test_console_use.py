"""How the console is used: forms that are sent twice, filters, and the way from one page to the next."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from replicate_proxy.auth.principal import Scope
from replicate_proxy.jobs.model import Document, JobStatus, Submission, SubmissionKind
from tests.support.builders import make_job
from tests.support.console import Browser, console_account, get_job_store, store_job, store_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from replicate_proxy.jobs.model import Job
    from tests.support.console import Page


@pytest.fixture(autouse=True)
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with console_account(monkeypatch):
        yield


@pytest.fixture
def operator() -> Browser:
    browser = Browser()
    assert browser.sign_in(store_key(Scope.ADMIN, tenant="operator", name="op")).status == 303
    return browser


@pytest.fixture
def tenant() -> Browser:
    browser = Browser()
    assert browser.sign_in(store_key()).status == 303
    return browser


def store_failed_job() -> Job:
    return store_job(
        make_job(
            JobStatus.FAILED,
            created_at=datetime.now(UTC),
            model="acme/flux",
            submission=Submission(kind=SubmissionKind.MODEL, owner="acme", name="flux"),
            input=Document(text='{"prompt": "a cat"}'),
        )
    )


def read_idempotency_key(page: Page) -> str:
    return str(re.findall(r'name="idempotency_key" value="([^"]+)"', page.html)[0])


def read_job_id(page: Page) -> str:
    return page.location.split("/")[3].partition("?")[0]


def count_jobs() -> int:
    return len(get_job_store().list_jobs("acme", before_id=None, min_id=None, limit=50).jobs)


def test_run_again_creates_one_prediction_when_its_form_is_sent_twice(tenant: Browser) -> None:
    job = store_failed_job()
    path = f"/predictions/acme/{job.id}/run"
    key = read_idempotency_key(tenant.get(path))
    form = {"input": '{"prompt": "a dog"}', "idempotency_key": key}

    first, second = tenant.post(path, form), tenant.post(path, form)

    assert read_job_id(first) == read_job_id(second)
    assert count_jobs() == 2
    assert "The form was sent twice" in tenant.get(second.location).text
    # What the form shows after the back button, with another input.
    third = tenant.post(path, {**form, "input": '{"prompt": "a fox"}'})
    assert read_job_id(third) != read_job_id(first)
    # A form that is loaded again is another request.
    assert read_idempotency_key(tenant.get(path)) != key


def test_run_again_keeps_its_key_when_the_input_is_refused(tenant: Browser) -> None:
    job = store_failed_job()
    form = {"input": "{", "idempotency_key": "k1"}
    page = tenant.post(f"/predictions/acme/{job.id}/run", form)
    assert page.status == 422
    assert read_idempotency_key(page) == "k1"
