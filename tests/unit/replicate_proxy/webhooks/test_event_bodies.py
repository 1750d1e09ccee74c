"""The body that each event sends."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from replicate_proxy.contracts.predictions import build_prediction_view
from replicate_proxy.jobs.model import Job, JobStatus
from replicate_proxy.webhooks.events import JobEvent, render_body
from replicate_proxy.webhooks.model import EventKind
from tests.support.webhook_builders import as_processing, as_succeeded, make_job

MAX_BYTES = 256 * 1024
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


def build_view(job: Job, **documents: Any) -> dict[str, Any]:
    """Return the body of GET for the job."""
    defaults = {"input": {"prompt": "a"}, "output": ["https://cdn.example/1.webp"], "logs": "done"}
    return build_prediction_view(job, **{**defaults, **documents})


def render(view: dict[str, Any], kind: EventKind) -> dict[str, Any]:
    body = json.loads(render_body(view, JobEvent(kind, 7, "msg_1"), max_bytes=MAX_BYTES))
    assert isinstance(body, dict)
    return body


def without_proxy(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != "proxy"}


def test_completed_is_the_prediction_as_get_returns_it() -> None:
    view = build_view(as_succeeded(make_job()))
    body = render(view, EventKind.COMPLETED)
    assert without_proxy(body) == without_proxy(view)
    assert body["proxy"] == {**view["proxy"], "event": "completed", "sequence": 7}


def test_every_event_has_the_metadata_of_the_prediction() -> None:
    view = build_view(as_succeeded(make_job(metadata={"order": "42"})))
    assert all(render(view, kind)["proxy"]["metadata"] == {"order": "42"} for kind in EventKind)


def test_start_does_not_show_the_end_when_rendered_late() -> None:
    body = render(build_view(as_succeeded(make_job())), EventKind.START)
    assert (body["status"], body["output"], body["error"]) == ("processing", None, None)
    assert "completed_at" not in body
    assert "metrics" not in body
    failed = make_job(status=JobStatus.FAILED, error="boom")
    assert render(build_view(failed), EventKind.LOGS)["error"] is None


def test_output_has_final_output_and_status_processing() -> None:
    body = render(build_view(as_succeeded(make_job())), EventKind.OUTPUT)
    assert (body["status"], body["output"]) == ("processing", ["https://cdn.example/1.webp"])


def test_running_prediction_is_rendered_unchanged() -> None:
    view = build_view(as_processing(make_job()))
    assert without_proxy(render(view, EventKind.START)) == without_proxy(view)


def test_body_above_the_limit_omits_input_then_logs_then_output() -> None:
    job = as_succeeded(make_job())
    huge = "x" * MAX_BYTES
    body = render(build_view(job, input={"image": huge}), EventKind.COMPLETED)
    assert body["proxy"]["omitted"] == ["input"]
    body = render(build_view(job, logs=huge), EventKind.COMPLETED)
    assert (body["logs"], body["proxy"]["omitted"]) == ("", ["input", "logs"])
    body = render(build_view(job, output=[huge]), EventKind.COMPLETED)
    assert (body["output"], body["proxy"]["omitted"]) == (None, ["input", "logs", "output"])
    assert (body["id"], body["status"]) == (job.id, "succeeded")
    assert body["urls"]["get"].endswith(job.id)


def test_body_with_thousands_of_files_fits_the_limit() -> None:
    files = [{"path": f"/{number}", "sha256": "0" * 64} for number in range(5000)]
    view = build_view(as_succeeded(make_job()), files=files)
    text = render_body(view, JobEvent(EventKind.COMPLETED, 7, "msg_1"), max_bytes=MAX_BYTES)
    assert len(text.encode()) <= MAX_BYTES
    body = json.loads(text)
    assert (body["input"], body["output"]) == ({"prompt": "a"}, ["https://cdn.example/1.webp"])
    assert (body["proxy"]["files"], "omitted" in body["proxy"]) == ([], False)


@given(JSON, JSON, st.integers(1500, 4000))
def test_any_output_becomes_utf8_json_within_the_limit(output: Any, logs: Any, max_bytes: int) -> None:
    view = build_view(as_succeeded(make_job()), output=output, logs=json.dumps(logs))
    text = render_body(view, JobEvent(EventKind.COMPLETED, 7, "msg_1"), max_bytes=max_bytes)
    body = json.loads(text.encode("utf-8").decode("utf-8"))
    omitted = body["proxy"].get("omitted", [])
    assert len(text.encode()) <= max_bytes or omitted == ["input", "logs", "output"]
    if "output" not in omitted:
        assert body["output"] == output
