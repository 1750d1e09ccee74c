"""`replicate.stream()` of the unmodified Python clients; streams that break or end; URLs that are wrong."""

import asyncio
import json
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from replicate.client import Client
from replicate.exceptions import ReplicateError

from tests.integration.api_client import ApiClient
from tests.integration.event_streams import ResumingReader, read_events
from tests.integration.models import FLUX, LLAMA, SMALL_IMAGE_INPUT, get_version
from tests.integration.receiver import run_receiver
from tools.local.stack import Stack
from tools.local.waiting import wait_for
from tools.simulator.client import SimulatorClient

STREAM_LAB = "local/stream-lab"


@pytest.fixture(scope="module", autouse=True)
def known_models(stack: Stack) -> None:
    """Let the stack learn what the models stream, and start its functions: the first create may be slow."""
    api = ApiClient(stack.api_url, stack.api_key)
    for model, model_input in ((LLAMA, {"prompt": "a"}), (FLUX, SMALL_IMAGE_INPUT), (STREAM_LAB, {})):
        if api.create(model, model_input)["proxy"]["stream"] == "not_known_yet":
            api.run(model, model_input)
    # Each execution environment of ingest remembers for three seconds that it does not know a model.
    time.sleep(3.5)


def create(api: ApiClient, **model_input: Any) -> dict[str, Any]:
    """Create a prediction that does what its input says, and return it once it has its live stream.

    Where functions have to start on a busy machine, the create does not wait long enough for it.
    """
    created = api.create(STREAM_LAB, {"startup": 0, "latency": 0.3} | model_input)

    def find_live() -> dict[str, Any] | None:
        view = api.get(created["id"])
        return view if _is_live(view["urls"]["stream"]) else None

    if _is_live(created["urls"]["stream"]):
        return created
    return wait_for(find_live, timeout_seconds=60, description="the live stream")


def read_error_of_stream(client: Client) -> str | None:
    """Return the error of a stream, None if a function still remembers that it does not know the model."""
    try:
        list(client.stream(STREAM_LAB, input={"output": "x"}))
    except ReplicateError:
        return None
    except RuntimeError as error:
        return str(error)
    pytest.fail("the stream has no error")


def _is_live(url: str) -> bool:
    return urlsplit(url).path.startswith("/v1/streams/")


def make_texts(count: int) -> list[str]:
    """Return pieces of text with everything that an event has to carry."""
    pieces = ["The", " quiet\n", "\n", " 東京", " déjà: vu", ' "x"', "data: y\n\n", " ", "\t}"]
    return [random.choice(pieces) + str(number) for number in range(count)]


# The clients


@pytest.mark.parametrize("by_version", [False, True])
def test_python_client_streams_text(client: Client, api: ApiClient, *, by_version: bool) -> None:
    reference = f"{LLAMA}:{get_version(LLAMA)}" if by_version else LLAMA

    events = list(client.stream(reference, input={"prompt": "a poem", "max_tokens": 30}))

    assert [event.event.value for event in events] == ["output"] * (len(events) - 1) + ["done"]
    assert len(events) == 31


def test_python_client_streams_text_asynchronously(stack: Stack) -> None:
    async def stream() -> list[str]:
        client = Client(api_token=stack.api_key, base_url=stack.api_url)
        try:
            events = await client.async_stream(LLAMA, input={"prompt": "a poem", "max_tokens": 30})
            return [str(event) async for event in events]
        finally:
            await client._async_client.aclose()
            client._client.close()

    assert len(asyncio.run(stream())) == 31


def test_python_client_streams_files_of_this_stack_only(client: Client, stack: Stack) -> None:
    events = list(client.stream(FLUX, input=SMALL_IMAGE_INPUT))

    [url] = [str(event) for event in events if event.event.value == "output"]
    assert url.startswith(f"{stack.cdn_url}/outputs/")
    # As FileOutput.read() of this client does, with the key of the proxy.
    content = requests.get(url, headers={"Authorization": f"Bearer {stack.api_key}"}, timeout=30)
    assert content.headers["content-type"] == "image/webp"


def test_python_client_says_when_a_model_does_not_stream(client: Client) -> None:
    with pytest.raises(ReplicateError, match="does not support streaming"):
        list(client.stream("black-forest-labs/flux-1.1-pro", input={"prompt": "a lighthouse"}))


def test_python_client_raises_the_error_of_the_model(client: Client) -> None:
    stream = client.stream(STREAM_LAB, input={"partial": [["a"]], "status": "failed", "error": "no paint"})

    assert str(next(stream)) == "a"
    with pytest.raises(RuntimeError, match="no paint"):
        next(stream)


def test_client_is_told_why_a_waiting_prediction_has_no_stream(
    client: Client, simulator: SimulatorClient, api: ApiClient
) -> None:
    simulator.inject_fault("create", "status", status=429, retry_after=40, times=1000)

    def create_with_stream() -> dict[str, Any] | None:
        created = api.create(STREAM_LAB, {"output": "x"})
        return created if "stream" in created["urls"] else None

    error = wait_for(
        lambda: read_error_of_stream(client), timeout_seconds=150, description="the error of the stream"
    )
    assert "waits for Replicate: the rate limit is used up" in error
    created = wait_for(create_with_stream, timeout_seconds=60, description="a prediction with a stream")
    assert urlsplit(created["urls"]["stream"]).path == f"/streams/{created['id']}"
    api.call("POST", f"/v1/predictions/{created['id']}/cancel")


# Credentials


def test_no_credential_of_a_client_reaches_replicate(
    client: Client, api: ApiClient, simulator: SimulatorClient
) -> None:
    before = simulator.get_stats()
    list(client.stream(LLAMA, input={"prompt": "a poem"}))
    url = create(api, output="x")["urls"]["stream"]
    credentials = {"Authorization": f"Bearer {api.key}", "Cookie": "session=1"}
    requests.get(url, headers=credentials, timeout=30).raise_for_status()

    after = simulator.get_stats()
    assert after["requests"]["stream"] - before["requests"].get("stream", 0) == 2
    assert after["streams_with_credentials"] == 0


# The record


@pytest.mark.parametrize("end", ["succeeded", "failed", "canceled"])
@pytest.mark.parametrize("is_over", [False, True], ids=["live", "stored"])
def test_stream_is_what_record_and_webhook_say(
    api: ApiClient, simulator: SimulatorClient, end: str, *, is_over: bool
) -> None:
    texts = make_texts(12)
    model_input: dict[str, Any] = {"partial": [texts[:5], texts], "logs": "loading\nready\n"}
    if end == "canceled":
        model_input |= {"hold": True}
    elif end == "failed":
        model_input |= {"status": "failed", "error": "out of paint"}
    else:
        model_input |= {"output": [*texts, " end"]}
    with run_receiver() as receiver:
        created = api.create(
            STREAM_LAB,
            {"startup": 0, "latency": 0.3} | model_input,
            webhook=receiver.url,
            webhook_events_filter=["completed"],
        )
        if end == "canceled":
            live = read_events(created["urls"]["stream"])
            seen = ""
            while seen != "".join(texts):
                event = next(live)
                seen += event.data if event.name == "output" else ""
            api.call("POST", f"/v1/predictions/{created['id']}/cancel")
        [webhook] = receiver.wait_for(bool, "the webhook")
    if is_over:
        simulator.change_settings(stream_retention=0)

    events = list(read_events(created["urls"]["stream"]))
    record = api.wait_until_finished(created["id"])

    assert events[0].id.startswith("stored:") is is_over
    assert "".join(event.data for event in events if event.name == "logs") == record["logs"]
    assert "".join(event.data for event in events if event.name == "output") == "".join(record["output"])
    errors = [json.loads(event.data)["detail"] for event in events if event.name == "error"]
    assert errors == ([record["error"]] if end == "failed" else [])
    reason = {"failed": "error", "canceled": "canceled"}.get(end)
    assert json.loads(events[-1].data) == ({"reason": reason} if reason else {})
    assert record["status"] == end
    for field in ("status", "output", "logs", "error"):
        assert webhook.prediction[field] == record[field]


# Broken connections


def test_cut_stream_resumes_at_replicate_without_loss(api: ApiClient, simulator: SimulatorClient) -> None:
    texts = make_texts(200)
    created = create(api, partial=[texts[:50], texts[:120]], output=texts, latency=0.5)
    for _ in range(6):
        simulator.inject_fault("stream", "cut", size=random.randrange(1, 4000))

    reader = ResumingReader(created["urls"]["stream"])
    reader.read_to_the_end()

    assert reader.text == "".join(texts)
    assert len({event.id for event in reader.events}) == len(reader.events)
    assert reader.connections >= 2
    assert "".join(api.wait_until_finished(created["id"])["output"]) == reader.text


def test_cut_stream_continues_from_the_record_when_replicate_has_it_no_more(
    api: ApiClient, simulator: SimulatorClient
) -> None:
    texts = make_texts(60)
    created = create(api, output=texts)
    reader = ResumingReader(created["urls"]["stream"])
    assert not reader.read_on(max_events=random.randrange(1, 60))
    api.wait_until_finished(created["id"])
    simulator.change_settings(stream_retention=0)
    assert not reader.read_on(max_events=random.randrange(1, 60))
    reader.read_to_the_end()

    assert reader.text == "".join(texts)
    assert reader.events[0].id == "stored:1"
    assert reader.connections == 3


def test_unreachable_stream_host_is_answered_from_the_record(
    api: ApiClient, simulator: SimulatorClient
) -> None:
    simulator.inject_fault("stream", "reset_before_accept", times=1)
    simulator.inject_fault("stream", "status", status=503, times=1)
    created = create(api, output=["a", "b"])

    answers = ["".join(event.data for event in read_events(created["urls"]["stream"])) for _ in range(2)]

    assert answers == ["ab{}", "ab{}"]


def test_idle_stream_ends_without_done_and_goes_on(api: ApiClient, simulator: SimulatorClient) -> None:
    simulator.change_settings(stream_idle_limit=0.3)
    created = create(api, partial=[["a"]], latency=0, hold=True)
    reader = ResumingReader(created["urls"]["stream"])
    assert not reader.read_on()
    simulator.change_settings(stream_idle_limit=30)

    [prediction] = simulator.find_predictions(created["id"])
    simulator.complete_prediction(prediction["id"], output=["a", "b"])
    reader.read_to_the_end()

    assert reader.text == "ab"


def test_fifty_streams_at_once_are_complete(api: ApiClient, simulator: SimulatorClient) -> None:
    simulator.change_settings(stream_idle_limit=300)
    texts = make_texts(40)
    with ThreadPoolExecutor(4) as executor:
        created = list(
            executor.map(lambda _: create(api, partial=[texts[:20]], latency=0, hold=True), range(50))
        )
    all_open = threading.Barrier(51, timeout=60)

    def read(prediction: dict[str, Any]) -> str:
        events = read_events(prediction["urls"]["stream"])
        first = next(events).data
        all_open.wait()
        return first + "".join(event.data for event in events if event.name == "output")

    def finish(job_id: str) -> dict[str, Any]:
        """End a prediction. Few at a time: the local AWS starts a process for each simultaneous webhook."""
        [prediction] = simulator.find_predictions(job_id)
        # A failure, so that no output has to be harvested.
        simulator.complete_prediction(prediction["id"], status="failed", output=texts)
        return api.wait_until_finished(job_id)

    with ThreadPoolExecutor(50) as executor:
        streamed = executor.map(read, created)
        all_open.wait()
        with ThreadPoolExecutor(4) as finishers:
            records = list(finishers.map(lambda prediction: finish(prediction["id"]), created))

    assert list(streamed) == ["".join(texts)] * 50
    assert [record["output"] for record in records] == [texts] * 50


# Wrong URLs


def test_wrong_stream_urls_are_answered_alike(
    api: ApiClient, make_api: Callable[[], ApiClient], simulator: SimulatorClient
) -> None:
    created, foreign = create(api, output="mine"), create(make_api(), output="theirs")
    api.wait_until_finished(created["id"])
    simulator.change_settings(stream_retention=0)
    url = created["urls"]["stream"]
    parts, query = urlsplit(url), {k: v[0] for k, v in parse_qs(urlsplit(url).query).items()}
    base = f"{parts.scheme}://{parts.netloc}"
    foreign_id = foreign["id"]

    answers = [
        requests.get(base + path, params=changed, timeout=30)
        for path, changed in (
            (parts.path, query | {"signature": "0" * 64}),
            (parts.path, query | {"prediction": foreign_id}),
            (parts.path, query | {"prediction": "0" * 26}),
            (parts.path, query | {"tenant": "nobody"}),
            (parts.path, {}),
            (f"/streams/{foreign_id}", query | {"prediction": foreign_id}),
            (f"/v1/files/{foreign_id}", {}),
        )
    ]

    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.text for answer in answers}) == 1
    assert "mine" in requests.get(url, timeout=30).text
