"""What shows private outputs signs their URLs; what keeps them leaves them out."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from replicate_proxy import signing
from replicate_proxy.batches.results import ResultReader
from replicate_proxy.errors import NotFoundError
from replicate_proxy.jobs.model import Document, Job, JobStatus, TimelineStep
from replicate_proxy.outputs.private_urls import UrlSigningError
from replicate_proxy.services.rendering import PredictionRenderer
from replicate_proxy.services.stream_replay import StreamReplay
from replicate_proxy.services.wait import JobWaiter
from tests.support.batches import LargeBatches, make_lines
from tests.support.builders import make_job
from tests.support.clock import NOW, FakeClock
from tests.support.fakes import FakeDocumentStore
from tests.support.job_stores import InMemoryJobStore
from tests.support.pipeline import STREAM_KEY
from tests.support.prediction_api import PredictionApi
from tests.support.url_keys import FOLDER, PRIVATE_URL, make_signer, verify_signed_url

THUMBNAIL_URL = PRIVATE_URL + "-thumb"
RECORDS = [{"path": [0], "outcome": "stored", "url": PRIVATE_URL, "thumbnail_url": THUMBNAIL_URL}]


def make_private_job(**changes: Any) -> Job:
    fields: dict[str, Any] = {
        "status": JobStatus.SUCCEEDED,
        "completed_at": NOW,
        "output": Document(text=json.dumps([PRIVATE_URL])),
        "files": Document(text=json.dumps(RECORDS)),
        "private_folder": FOLDER,
    }
    return make_job(**{**fields, **changes})


def test_rendered_prediction_has_signed_urls_of_output_file_and_thumbnail() -> None:
    renderer = PredictionRenderer(FakeDocumentStore(), sign_urls=make_signer().sign_urls)

    view = renderer.render(make_private_job())

    (file,) = view["proxy"]["files"]
    assert verify_signed_url(view["output"][0]) == (PRIVATE_URL, int(NOW.timestamp()) + 3600)
    assert verify_signed_url(file["url"])[0] == PRIVATE_URL
    assert verify_signed_url(file["thumbnail_url"])[0] == THUMBNAIL_URL


def test_input_and_logs_of_a_prediction_are_not_signed() -> None:
    renderer = PredictionRenderer(FakeDocumentStore(), sign_urls=make_signer().sign_urls)
    text = Document(text=json.dumps({"image": PRIVATE_URL}))

    view = renderer.render(make_private_job(input=text, logs=Document(text=json.dumps(PRIVATE_URL))))

    assert view["input"] == {"image": PRIVATE_URL}
    assert view["logs"] == PRIVATE_URL


@pytest.mark.parametrize("folder", [None, "", "private/aa/cc/"])
def test_url_of_another_jobs_file_is_not_signed(folder: str | None) -> None:
    """A model may repeat a URL that it was given; it stays as dead as it was."""
    renderer = PredictionRenderer(FakeDocumentStore(), sign_urls=make_signer().sign_urls)

    view = renderer.render(make_private_job(private_folder=folder))

    assert view["output"] == [PRIVATE_URL]


def test_prediction_is_unavailable_rather_than_shown_with_dead_urls() -> None:
    renderer = PredictionRenderer(FakeDocumentStore(), sign_urls=make_signer(key_id="").sign_urls)

    with pytest.raises(UrlSigningError):
        renderer.render(make_private_job())
    running = make_private_job(status=JobStatus.HARVESTING, output=None, files=None)
    assert renderer.render(running)["status"] == "processing"


def test_api_answers_503_where_urls_cannot_be_signed() -> None:
    api = PredictionApi()
    job = make_private_job()
    api.pipeline.store.create(job)

    status, body, headers = api.get("/v1/predictions/{id}", params={"id": job.id})

    assert (status, body["status"], headers["retry-after"]) == (503, 503, "60")


def test_page_of_results_is_signed_and_the_file_of_results_leaves_outputs_out() -> None:
    batches = LargeBatches()
    batch = batches.create(make_lines(2))
    batches.run()
    first, second = batches.list_jobs()
    batches.end_jobs()
    for job, output in ((first, [PRIVATE_URL]), (second, ["text"])):
        ended = batches.jobs.get(job.tenant, job.id)
        assert ended is not None
        document = Document(text=json.dumps(output))
        batches.jobs.save(replace(ended, output=document, private_folder=FOLDER))

    def read(**fields: Any) -> list[dict[str, Any]]:
        reader = ResultReader(batches.objects, batches.jobs, batches.documents, **fields)
        return reader.read_slice(batches.get(batch), 0)

    shown, kept = read(sign_urls=make_signer().sign_urls), read()
    assert verify_signed_url(shown[0]["output"][0])[0] == PRIVATE_URL
    assert (kept[0]["output"], kept[0]["omitted"]) == (None, ["output"])
    assert shown[1]["output"] == kept[1]["output"] == ["text"]
    assert "omitted" not in kept[1]


@pytest.mark.parametrize(
    ("changes", "seconds", "is_shown"),
    [
        ({}, 3600, True),
        ({}, 3601, False),
        ({"timeline": {TimelineStep.FINISHED: NOW + timedelta(seconds=60)}}, 3660, True),
        ({"timeline": {TimelineStep.FINISHED: NOW + timedelta(seconds=60)}}, 3661, False),
        ({"output": Document(text='["text"]')}, 9999, True),
        ({"private_folder": ""}, 9999, True),
    ],
)
def test_stream_of_private_files_ends_as_urls_do(
    changes: dict[str, Any], seconds: int, *, is_shown: bool
) -> None:
    """Its URL has no expiry: whoever has it would get fresh URLs for as long as the prediction exists."""
    clock, store = FakeClock(NOW), InMemoryJobStore()
    job = make_private_job(**changes)
    store.create(job)
    waiter = JobWaiter(store, clock, clock.advance, max_wait_seconds=25)
    replay = StreamReplay(
        store,
        FakeDocumentStore(),
        waiter,
        lambda: STREAM_KEY,
        max_wait_seconds=25,
        sign_urls=make_signer().sign_urls,
        private_seconds=3600,
    )
    signature = signing.sign(STREAM_KEY, job.tenant, job.id)
    query = {"tenant": job.tenant, "prediction": job.id, "signature": signature}
    clock.advance(seconds)

    if is_shown:
        assert "event: output" in replay.read(query)
    else:
        with pytest.raises(NotFoundError):
            replay.read(query)
