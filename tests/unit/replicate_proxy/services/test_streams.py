"""Streams: the URL that a create returns, how long it waits for it, and the stored stream."""

from __future__ import annotations

import json
from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from requests.structures import CaseInsensitiveDict

from replicate_proxy.contracts.stream_events import render_final_events
from replicate_proxy.contracts.stream_urls import KnownStream, StreamKind, parse_replicate_stream
from replicate_proxy.jobs.model import JobStatus
from replicate_proxy.outputs.records import HarvestResult
from replicate_proxy.replicate_api.models import UpstreamPrediction
from tests.support.builders import TENANT, VERSION, make_job
from tests.support.logs import read_log
from tests.support.pipeline import OUTPUTS_URL, STREAM_HOST_URL
from tests.support.prediction_api import NO_STREAM, PredictionApi

OPAQUE = "bcwr3okdfv3o2wehstv5f2okyftwxy57"
TEXT_PATH = f"/v1/streams/{OPAQUE}"
TEXT = KnownStream(StreamKind.TEXT, OUTPUTS_URL)
FILES = KnownStream(StreamKind.FILES, OUTPUTS_URL)
S = JobStatus


@pytest.fixture
def api() -> PredictionApi:
    """The API in front of a Replicate whose model streams text, which is not known yet."""
    api = PredictionApi()
    api.pipeline.known_models.stream = None
    api.pipeline.replicate.stream_url = STREAM_HOST_URL + TEXT_PATH
    return api


def create(api: PredictionApi, **fields: Any) -> dict[str, Any]:
    status, view, _ = api.post(body={"version": VERSION, "input": {"prompt": "a cat"}}, **fields)
    assert status == 201
    return dict(view)


def parse_events(text: str) -> list[tuple[str, str, str]]:
    """Return name, ID and data of each event."""
    events = []
    for block in text.split("\n\n")[:-1]:
        fields: dict[str, list[str]] = {}
        for line in block.split("\n"):
            name, _, value = line.partition(": ")
            fields.setdefault(name, []).append(value)
        events.append((fields["event"][0], fields["id"][0], "\n".join(fields["data"])))
    return events


def finish(api: PredictionApi, status: str = "succeeded", **fields: Any) -> None:
    """Let Replicate start and finish the prediction, and report it."""
    api.pipeline.replicate.start("p1")
    api.pipeline.send_webhook("p1")
    api.pipeline.drain_messages()
    api.pipeline.replicate.finish("p1", status, **fields)
    api.pipeline.send_webhook("p1")
    api.pipeline.drain_messages()


# The URL


def test_create_returns_our_url_of_replicates_stream(api: PredictionApi) -> None:
    view = create(api)

    url = urlsplit(view["urls"]["stream"])
    assert f"{url.scheme}://{url.netloc}{url.path}" == OUTPUTS_URL + TEXT_PATH
    query = parse_qs(url.query)
    assert (query["tenant"], query["prediction"]) == ([TENANT], [view["id"]])
    assert len(query["signature"][0]) == 64
    assert api.pipeline.elapsed_seconds < 0.1


@pytest.mark.parametrize(
    "replicate_url",
    [
        None,
        f"{STREAM_HOST_URL}/v2/streams/{OPAQUE}",
        f"{STREAM_HOST_URL}{TEXT_PATH}?token=1",
        f"{STREAM_HOST_URL}/v1/streams/../{OPAQUE}",
        TEXT_PATH,
        f"ftp://stream.replicate.test{TEXT_PATH}",
    ],
)
def test_create_returns_no_stream_of_another_form(api: PredictionApi, replicate_url: str | None) -> None:
    api.pipeline.replicate.stream_url = replicate_url

    with read_log() as log:
        assert "stream" not in create(api)["urls"]
    assert api.pipeline.known_models.stream == NO_STREAM
    assert bool(log.find("stream not relayed")) == (replicate_url is not None)


@pytest.mark.parametrize("host", ["elsewhere.test", "stream.replicate.test.elsewhere.test"])
def test_text_on_another_host_is_streamed_from_the_record(api: PredictionApi, host: str) -> None:
    """Replicate has a host for each region, of which CloudFront relays one."""
    api.pipeline.replicate.stream_url = f"https://{host}{TEXT_PATH}"
    api.pipeline.output_harvester.results = [HarvestResult(output=["a", "b"], records=())]

    with read_log() as log:
        view = create(api)
    finish(api)

    assert view["urls"]["stream"].startswith(f"{OUTPUTS_URL}/streams/{view['id']}?")
    assert api.pipeline.known_models.stream == TEXT
    events = parse_events(api.read_stream(view["urls"]["stream"])[1])
    assert [data for name, _, data in events if name == "output"] == ["a", "b"]
    [warning] = log.find("stream not relayed")
    assert warning["host"] == host
    assert OPAQUE not in json.dumps(log.records)


@pytest.mark.parametrize("base_url", [STREAM_HOST_URL, "https://elsewhere.test"])
def test_stream_of_files_is_served_from_the_record_only(api: PredictionApi, base_url: str) -> None:
    """Replicate has them on a host of their own."""
    api.pipeline.replicate.stream_url = f"{base_url}/v1/files/{OPAQUE}"

    with read_log() as log:
        view = create(api)

    assert view["urls"]["stream"].startswith(f"{OUTPUTS_URL}/v1/files/{view['id']}?")
    assert OPAQUE not in json.dumps(view)
    assert not log.find("stream not relayed")


@pytest.mark.parametrize(("known", "folder"), [(FILES, "/v1/files"), (TEXT, "/streams")])
def test_prediction_of_a_known_model_has_a_stream_before_it_is_submitted(
    api: PredictionApi, known: KnownStream, folder: str
) -> None:
    api.pipeline.known_models.stream = known
    api.pipeline.replicate.create_delay_seconds = 30

    view = create(api)

    assert view["urls"]["stream"].startswith(f"{OUTPUTS_URL}{folder}/{view['id']}?")


# The wait


@pytest.mark.parametrize("known", [NO_STREAM, FILES])
def test_create_does_not_wait_when_no_text_is_streamed(api: PredictionApi, known: KnownStream) -> None:
    api.pipeline.known_models.stream = known

    create(api)

    assert api.pipeline.elapsed_seconds == 0


def test_create_returns_at_once_when_dispatch_postpones_the_job(api: PredictionApi) -> None:
    api.pipeline.replicate.create_delay_seconds = 30

    view = create(api)

    assert "stream" not in view["urls"]
    assert api.pipeline.elapsed_seconds < 0.1


@pytest.mark.parametrize("known", [None, TEXT])
def test_create_returns_the_stream_when_a_webhook_is_faster_than_the_acceptance(
    api: PredictionApi, known: KnownStream | None
) -> None:
    api.pipeline.known_models.stream = known
    create_prediction = api.pipeline.replicate.create

    def create_and_report(*arguments: Any, **options: Any) -> UpstreamPrediction:
        prediction = create_prediction(*arguments, **options)
        api.pipeline.replicate.start(prediction.id)
        api.pipeline.send_webhook(prediction.id)
        api.pipeline.drain_messages()
        return prediction

    with patch.object(api.pipeline.replicate, "create", create_and_report):
        view = create(api)

    assert view["status"] == "processing"
    assert urlsplit(view["urls"]["stream"]).path == TEXT_PATH


def test_create_returns_without_stream_when_dispatch_takes_too_long(api: PredictionApi) -> None:
    api.pipeline.fault_occurs = lambda name: name == "queue.lost"

    assert "stream" not in create(api)["urls"]
    assert api.pipeline.elapsed_seconds == pytest.approx(2)


def test_create_does_not_wait_when_too_many_requests_wait(api: PredictionApi) -> None:
    api.wait_limiter.has_place = False

    assert "stream" not in create(api)["urls"]
    assert api.pipeline.elapsed_seconds == 0


# The stored stream


@pytest.mark.parametrize(
    ("status", "output", "error", "end"),
    [
        ("succeeded", ["a", "b\nc", " d"], None, [("done", "{}")]),
        ("succeeded", "text", None, [("done", "{}")]),
        ("succeeded", None, None, [("done", "{}")]),
        ("succeeded", [{"x": 1}, 2], None, [("done", "{}")]),
        ("canceled", ["a", "b"], None, [("done", '{"reason": "canceled"}')]),
        (
            "failed",
            ["a"],
            "no more paint",
            [("error", '{"detail": "no more paint"}'), ("done", '{"reason": "error"}')],
        ),
    ],
)
def test_stored_stream_is_what_the_record_says(
    api: PredictionApi, status: str, output: Any, error: str | None, end: list[tuple[str, str]]
) -> None:
    api.pipeline.output_harvester.results = [HarvestResult(output=output, records=())]
    view = create(api)
    finish(api, status, output=output, error=error, logs="loading\n")

    stream_status, text = api.read_stream(view["urls"]["stream"])
    record = api.get_prediction(view["id"])[1]

    pieces = output if isinstance(output, list) else [] if output is None else [output]
    assert stream_status == 200
    assert [(name, data) for name, _, data in parse_events(text)] == [
        ("logs", "loading\n"),
        *[("output", piece if isinstance(piece, str) else json.dumps(piece)) for piece in pieces],
        *end,
    ]
    assert (record["status"], record["output"], record["error"]) == (status, output, error)
    assert record["urls"]["stream"] == view["urls"]["stream"]


def test_stored_stream_says_that_it_is_utf8(api: PredictionApi) -> None:
    view = create(api)
    finish(api, output=["déjà", " 東京"])

    response = api.request_stream(view["urls"]["stream"])

    # Without the charset, PyPI `requests` and others decode text as Latin-1.
    assert requests.utils.get_encoding_from_headers(CaseInsensitiveDict(response["headers"])) == "utf-8"


def test_canceled_stream_is_recorded_with_what_was_written(api: PredictionApi) -> None:
    view = create(api)
    api.pipeline.replicate.start("p1")
    api.pipeline.send_webhook("p1")
    api.pipeline.drain_messages()
    api.pipeline.replicate.predictions["p1"]["output"] = ["a", "b"]
    api.pipeline.replicate.keeps_output_of_canceled = True

    api.post("/v1/predictions/{id}/cancel", params={"id": view["id"]}, body=None)
    api.pipeline.drain_messages()

    record = api.get_prediction(view["id"])[1]
    assert (record["status"], record["output"]) == ("canceled", ["a", "b"])


def test_stored_stream_waits_for_the_end_of_the_prediction(api: PredictionApi) -> None:
    view = create(api)
    api.finishes_after = 10

    _, text = api.read_stream(view["urls"]["stream"])

    assert [name for name, _, _ in parse_events(text)] == ["output", "done"]
    assert 10 <= api.pipeline.elapsed_seconds < 12


@pytest.mark.parametrize("delay_seconds", [0, 60], ids=["running", "waiting"])
def test_stored_stream_says_why_there_is_no_output_yet(api: PredictionApi, delay_seconds: float) -> None:
    api.pipeline.known_models.stream = TEXT
    api.pipeline.replicate.create_delay_seconds = delay_seconds
    view = create(api)

    _, text = api.read_stream(view["urls"]["stream"])

    [(_, _, error), (_, _, done)] = parse_events(text)
    reason = "has not started yet" if delay_seconds == 0 else "the rate limit is used up"
    assert reason in json.loads(error)["detail"]
    assert api.pipeline.elapsed_seconds < 6 if delay_seconds else api.pipeline.elapsed_seconds > 20
    assert view["urls"]["get"] in error
    assert json.loads(done) == {"reason": "error"}


def test_stored_stream_resumes_by_its_own_ids_and_starts_over_by_others(api: PredictionApi) -> None:
    api.pipeline.output_harvester.results = [HarvestResult(output=["a", "b", "c"], records=())]
    view = create(api)
    finish(api, output=["a", "b", "c"])
    _, text = api.read_stream(view["urls"]["stream"])
    events = parse_events(text)

    for position, (_, event_id, _) in enumerate(events, 1):
        resumed = api.read_stream(view["urls"]["stream"], last_event_id=event_id)[1]
        assert parse_events(resumed) == events[position:]
    assert api.read_stream(view["urls"]["stream"], last_event_id="1690212292:0")[1] == text


def test_unknown_expired_and_wrongly_signed_streams_are_answered_alike(api: PredictionApi) -> None:
    view = create(api)
    finish(api)
    url = view["urls"]["stream"]
    signature = parse_qs(urlsplit(url).query)["signature"][0]
    expired = api.pipeline.store.only_job()
    api.pipeline.store.remove(TENANT, view["id"])
    with read_log() as log:
        answers = [api.read_stream(url)]
        api.pipeline.store.put(expired)
        answers += [
            api.read_stream(url.replace(signature, "0" * 64)),
            api.read_stream(url.replace(view["id"], "01kg9p6je0hmrb3gncnng6q4dp")),
            api.read_stream(url.replace(f"tenant={TENANT}", "tenant=other")),
            api.read_stream(f"{OUTPUTS_URL}{TEXT_PATH}"),
        ]
        api.read_stream(url)

    assert {status for status, _ in answers} == {404}
    assert len(set(answers)) == 1
    assert OPAQUE not in str(log.records)
    assert signature not in str(log.records)


def test_long_outputs_are_merged_into_fewer_events(api: PredictionApi) -> None:
    pieces = [f"{number} " for number in range(20_000)]

    events = parse_events(render_final_events(make_job(S.SUCCEEDED), output=pieces, logs=None))

    assert len(events) == 5001
    assert "".join(data for _, _, data in events[:-1]) == "".join(pieces)


def test_stream_says_that_the_output_is_too_large_for_a_response(api: PredictionApi) -> None:
    text = "\n" * 1_000_000  # each line takes seven bytes
    api.pipeline.output_harvester.results = [HarvestResult(output=[text], records=())]
    view = create(api)
    finish(api, output=[text])

    [(name, _, data), _] = parse_events(api.read_stream(view["urls"]["stream"])[1])

    assert (name, "too large" in data) == ("error", True)


# Failed attempts


def test_streamed_prediction_is_not_run_again_after_a_transient_failure(api: PredictionApi) -> None:
    body = {"version": VERSION, "input": {"prompt": "a cat"}, "stream": True}
    view = api.post(body=body)[1]
    finish(api, "failed", error="Prediction interrupted; please retry (code: PA)", output=["a"])

    record = api.get_prediction(view["id"])[1]
    assert (record["status"], record["output"]) == ("failed", ["a"])


def test_new_attempt_has_a_stream_of_its_own_and_the_old_url_works(api: PredictionApi) -> None:
    view = create(api)
    api.pipeline.replicate.stream_url = f"{STREAM_HOST_URL}/v1/streams/{OPAQUE[::-1]}"
    finish(api, "failed", error="Prediction interrupted; please retry (code: PA)")
    api.pipeline.replicate.finish("p2")
    api.pipeline.send_webhook("p2")
    api.pipeline.drain_messages()

    record = api.get_prediction(view["id"])[1]
    assert OPAQUE[::-1] in record["urls"]["stream"]
    assert record["status"] == "succeeded"
    assert [name for name, _, _ in parse_events(api.read_stream(view["urls"]["stream"])[1])] == [
        "output",
        "done",
    ]


def test_replicate_stream_of_each_known_form_is_parsed() -> None:
    kinds = {
        kind: parse_replicate_stream(f"{STREAM_HOST_URL}/v1/{kind}/{OPAQUE}")
        for kind in ("predictions", "streams", "files")
    }

    assert {kind: stream.kind for kind, stream in kinds.items() if stream} == {
        "predictions": StreamKind.TEXT,
        "streams": StreamKind.TEXT,
        "files": StreamKind.FILES,
    }
