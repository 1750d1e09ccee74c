"""The streams of the local Replicate."""

import pytest
import requests

from tests.unit.tools.simulator.conftest import Api
from tools.simulator.client import SimulatorClient


def _create(api: Api, **model_input: object) -> dict[str, object]:
    body = {"version": "local/stream-lab", "input": {"startup": 0, "latency": 0.1} | model_input}
    prediction: dict[str, object] = api.call("POST", "/v1/predictions", json=body).json()
    return prediction


def _read(url: object, last_event_id: str | None = None) -> list[dict[str, str]]:
    """Read the stream to its end; lines of data are joined by newlines."""
    headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
    response = requests.get(str(url), headers=headers, timeout=10)
    response.encoding = "utf-8"
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/event-stream")
    events: list[dict[str, str]] = []
    for block in response.text.split("\n\n"):
        fields: dict[str, str] = {}
        for line in block.split("\n"):
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            fields[name] = f"{fields[name]}\n{value}" if name in fields else value
        events += [fields] if block else []
    return events


def _get_stream(prediction: dict[str, object]) -> str:
    urls = prediction["urls"]
    assert isinstance(urls, dict)
    return str(urls["stream"])


def test_stream_has_logs_new_elements_and_done_with_unique_ids(api: Api) -> None:
    prediction = _create(api, logs="a\nb\n", partial=[["x"], ["x", "y\nz"]], output=["x", "y\nz", "é"])

    events = _read(_get_stream(prediction))

    assert [(event["event"], event["data"]) for event in events] == [
        ("logs", "a\n"),
        ("output", "x"),
        ("logs", "b\n"),
        ("output", "y\nz"),
        ("output", "é"),
        ("done", "{}"),
    ]
    assert len({event["id"] for event in events}) == len(events)


def test_failed_and_canceled_streams_say_why_they_end(api: Api) -> None:
    failed = _read(_get_stream(_create(api, output=["x"], status="failed", error="no more paint")))
    canceled = _create(api, partial=[["x"]], latency=0, hold=True)
    api.call("POST", f"/v1/predictions/{canceled['id']}/cancel")

    assert [(event["event"], event["data"]) for event in failed[1:]] == [
        ("error", '{"detail": "no more paint"}'),
        ("done", '{"reason": "error"}'),
    ]
    assert _read(_get_stream(canceled))[-1]["data"] == '{"reason": "canceled"}'


def test_last_event_id_resumes_after_a_cut(api: Api, simulator: SimulatorClient) -> None:
    url = _get_stream(_create(api, output=["one", "two", "three"], latency=0))
    complete = _read(url)
    size = len(requests.get(url, timeout=10).content) // 2
    simulator.inject_fault("stream", "cut", size=size, times=1)

    with pytest.raises(requests.RequestException):
        requests.get(url, timeout=10)

    assert _read(url, complete[0]["id"]) == complete[1:]


def test_idle_stream_ends_with_a_comment(api: Api, simulator: SimulatorClient) -> None:
    simulator.change_settings(stream_idle_limit=0.1)
    prediction = _create(api, partial=[["x"]], latency=0, hold=True)

    response = requests.get(_get_stream(prediction), timeout=10)

    assert response.text.endswith("\n\n:408: 408 Request Timeout\n\n")
    assert "event: done" not in response.text


def test_stream_is_gone_some_time_after_the_end(api: Api, simulator: SimulatorClient) -> None:
    url = _get_stream(_create(api, output="x", latency=0))
    _read(url)
    simulator.change_settings(stream_retention=0)

    assert requests.get(url, timeout=10).status_code == 404


def test_stream_has_the_names_of_newer_cog_if_switched(api: Api, simulator: SimulatorClient) -> None:
    simulator.change_settings(stream_dialect="cog")

    events = _read(_get_stream(_create(api, logs="a\n", output=["x"])))

    assert [event["event"] for event in events[:3]] == ["start", "log", "output"]
    assert {event["event"] for event in events[3:-1]} == {"metric"}
    assert events[-1]["event"] == "completed"


def test_stream_of_files_has_a_path_of_its_own_and_needs_no_token(
    api: Api, simulator: SimulatorClient
) -> None:
    body = {"input": {"prompt": "a", "megapixels": "0.25"}}
    created = api.call("POST", "/v1/models/black-forest-labs/flux-schnell/predictions", json=body).json()

    output, done = (event for event in _read(created["urls"]["stream"]) if event["event"] != "logs")

    assert created["urls"]["stream"].startswith(f"{simulator.url}/v1/files/")
    assert output["data"] == api.get_prediction(created["id"])["output"][0]
    assert done["event"] == "done"


def test_credentials_that_reach_a_stream_are_counted(api: Api, simulator: SimulatorClient) -> None:
    url = _get_stream(_create(api, output="x"))
    requests.get(url, headers={"Authorization": "Bearer rp_key"}, timeout=10)

    assert simulator.get_stats()["streams_with_credentials"] == 1
