"""Running a prediction again in the console."""

from __future__ import annotations

import base64
import json
import random
import re
from typing import TYPE_CHECKING

from replicate_proxy.api.predictions.job_request_parser import ParserSettings
from tests.support.console import (
    Browser,
    get_job_store,
    make_finished_job,
    store_document,
    store_failed_job,
)

if TYPE_CHECKING:
    from tests.support.console import Page


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


def test_largest_input_that_the_api_accepts_can_be_run_again(tenant: Browser) -> None:
    """An image as a data URI, which a form sends with its slashes and plus signs escaped."""
    image = base64.b64encode(random.Random(1).randbytes(3_749_000)).decode()
    model_input = {"image": f"data:image/png;base64,{image}"}
    size = len(json.dumps({"input": model_input}))
    assert ParserSettings().max_body_bytes - 5000 < size <= ParserSettings().max_body_bytes
    job = make_finished_job(input=store_document(model_input))
    path = f"/predictions/acme/{job.id}/run"
    page = tenant.get(path)
    assert image in page.html
    sent = tenant.post(path, {"input": json.dumps(model_input, indent=2)})
    assert (sent.status, count_jobs()) == (303, 2)
