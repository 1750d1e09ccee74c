"""Results with odd values, through the deployed pipeline: each job ends, and shows what it can."""

from __future__ import annotations

import pytest

from tests.integration.api_client import ApiClient

LARGE = "\N{GRINNING FACE}" * 110_000


def test_job_succeeds_with_long_metrics(api: ApiClient) -> None:
    job = api.run("local/lab", {"output": "done", "metrics": {"trace": LARGE, "image_count": 2}})

    assert (job["status"], job["output"]) == ("succeeded", "done")
    assert job["metrics"]["image_count"] == 2
    assert "trace" not in job["metrics"]


def test_job_fails_with_the_beginning_of_a_long_error(api: ApiClient) -> None:
    job = api.run("local/lab", {"status": "failed", "error": LARGE})

    assert (job["status"], job["error"]) == ("failed", LARGE[:4000])


@pytest.mark.parametrize(
    "text", ["Data: revenue rose 4%, costs fell", 'data: {"id":1}', "https://ex\u200damp.com/a.png"]
)
def test_text_that_resembles_a_file_stays_text(api: ApiClient, text: str) -> None:
    assert api.run("local/lab", {"output": text})["output"] == text


@pytest.mark.parametrize(
    "webhook", ["https://\u2603.net/hook", "https://2130706433/x", " https://a.example/"]
)
def test_webhook_that_cannot_be_called_is_refused(api: ApiClient, webhook: str) -> None:
    body = {"version": "local/lab", "input": {}, "webhook": webhook}
    response = api.call("POST", "/v1/predictions", body)

    assert response.status_code == 422
    assert response.json()["invalid_fields"][0]["field"] == "webhook"
