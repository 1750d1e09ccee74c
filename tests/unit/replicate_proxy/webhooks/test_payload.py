"""What stands in a body."""

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

LIMIT = 256 * 1024


def view_of(job: Job, **parts: Any) -> dict[str, Any]:
    values = {"input": {"prompt": "a"}, "output": ["https://cdn.example/1.webp"], "logs": "done"}
    return build_prediction_view(job, **{**values, **parts})


def body(view: dict[str, Any], kind: EventKind, limit: int = LIMIT) -> dict[str, Any]:
    loaded = json.loads(render_body(view, JobEvent(kind, 7, "msg_1"), max_bytes=limit))
    assert isinstance(loaded, dict)
    return loaded


def test_completed_is_the_prediction_as_get_returns_it_and_which_event_it_is() -> None:
    view = view_of(as_succeeded(make_job()))
    told = body(view, EventKind.COMPLETED)
    proxy = told.pop("proxy")
    assert told == {name: value for name, value in view.items() if name != "proxy"}
    assert proxy == {**view["proxy"], "event": "completed", "sequence": 7}


def test_start_seen_late_does_not_tell_the_end() -> None:
    told = body(view_of(as_succeeded(make_job())), EventKind.START)
    assert (told["status"], told["output"], told["error"]) == ("processing", None, None)
    assert "completed_at" not in told
    assert "metrics" not in told
    failed = make_job(status=JobStatus.FAILED, error="boom")
    assert body(view_of(failed), EventKind.LOGS)["error"] is None


def test_output_has_the_final_output_while_it_still_says_processing() -> None:
    told = body(view_of(as_succeeded(make_job())), EventKind.OUTPUT)
    assert (told["status"], told["output"]) == ("processing", ["https://cdn.example/1.webp"])


def test_a_running_prediction_is_told_as_it_is() -> None:
    view = view_of(as_processing(make_job()))
    told = body(view, EventKind.START)
    assert {name: told[name] for name in view if name != "proxy"} == {
        name: value for name, value in view.items() if name != "proxy"
    }


def test_beyond_the_limit_parts_are_left_out_least_missed_first() -> None:
    job = as_succeeded(make_job())
    huge = "x" * LIMIT
    assert body(view_of(job, input={"image": huge}), EventKind.COMPLETED)["proxy"]["omitted"] == ["input"]
    told = body(view_of(job, logs=huge), EventKind.COMPLETED)
    assert (told["logs"], told["proxy"]["omitted"]) == ("", ["input", "logs"])
    told = body(view_of(job, output=[huge]), EventKind.COMPLETED)
    assert (told["output"], told["proxy"]["omitted"]) == (None, ["input", "logs", "output"])
    assert (told["id"], told["status"]) == (job.id, "succeeded")
    assert told["urls"]["get"].endswith(job.id)


def test_a_job_with_hundreds_of_files_fits_too() -> None:
    files = [{"path": f"/{number}", "sha256": "0" * 64} for number in range(5000)]
    text = render_body(
        view_of(as_succeeded(make_job()), files=files),
        JobEvent(EventKind.COMPLETED, 7, "msg_1"),
        max_bytes=LIMIT,
    )
    assert len(text.encode()) <= LIMIT
    assert json.loads(text)["output"] == ["https://cdn.example/1.webp"]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


@given(JSON, JSON, st.integers(1500, 4000))
def test_any_output_becomes_utf8_json_within_the_limit(output: Any, logs: Any, limit: int) -> None:
    view = view_of(as_succeeded(make_job()), output=output, logs=json.dumps(logs))
    text = render_body(view, JobEvent(EventKind.COMPLETED, 7, "msg_1"), max_bytes=limit)
    told = json.loads(text.encode("utf-8").decode("utf-8"))
    omitted = told["proxy"].get("omitted", [])
    assert len(text.encode()) <= limit or omitted == ["input", "logs", "output"]
    if "output" not in omitted:
        assert told["output"] == output
