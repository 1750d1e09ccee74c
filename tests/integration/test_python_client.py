"""Replicate's unmodified Python client, which is given nothing but base URL and API key."""

import base64
import io
from collections.abc import Callable
from typing import Any

import pytest
import requests
from PIL import Image
from replicate.client import Client
from replicate.exceptions import ModelError, ReplicateError
from replicate.helpers import FileOutput

from tests.integration.api_client import ApiClient
from tests.integration.models import FLUX, LLAMA, SDXL, SMALL_IMAGE_INPUT, get_version
from tools.local.stack import Stack
from tools.local.waiting import wait_for
from tools.simulator.client import SimulatorClient


def _get_image_size(client: Client, url: str) -> tuple[int, int]:
    """Read the image as the client does over https, with its token in the request."""
    image = Image.open(io.BytesIO(FileOutput(url, client).read()))
    image.load()
    return image.size


def test_run_by_model_returns_images_that_the_client_can_read(client: Client) -> None:
    output = list(client.run(FLUX, input={**SMALL_IMAGE_INPUT, "num_outputs": 2, "output_format": "png"}))

    # Over http, the client returns strings instead of FileOutput objects.
    assert [_get_image_size(client, url) for url in output] == [(512, 512), (512, 512)]


def test_run_by_version_reads_the_version_from_our_catalog(client: Client) -> None:
    model_input = {"prompt": "a fox", "width": 256, "height": 256}
    output = client.run(f"{SDXL}:{get_version(SDXL)}", input=model_input)

    assert [_get_image_size(client, url) for url in output] == [(256, 256)]


def test_run_returns_an_iterator_when_the_model_yields_parts(client: Client) -> None:
    output = client.run(f"{LLAMA}:{get_version(LLAMA)}", input={"prompt": "a poem", "max_tokens": 12})

    assert not isinstance(output, list)
    assert len(list(output)) == 12


def test_create_wait_and_reload_return_the_same_prediction(client: Client) -> None:
    prediction = client.predictions.create(model=FLUX, input=SMALL_IMAGE_INPUT)
    created = prediction.copy()
    prediction.wait()
    output = prediction.output
    prediction.reload()

    assert created.status in {"starting", "processing"}
    assert created.output is None
    assert prediction.status == "succeeded"
    assert prediction.output == output
    assert prediction.metrics is not None
    assert prediction.metrics["predict_time"] > 0
    assert prediction.progress is not None
    assert prediction.progress.percentage == 1.0
    assert client.predictions.get(prediction.id) == prediction


def test_create_by_deployment_succeeds(client: Client) -> None:
    prediction = client.deployments.predictions.create("local/lab-deployment", input={"output": "done"})
    prediction.wait()

    assert (prediction.status, prediction.output) == ("succeeded", "done")


def test_deployment_is_readable_and_creates_predictions(client: Client) -> None:
    deployment = client.deployments.get("local/lab-deployment")
    prediction = deployment.predictions.create(input={"output": "done"})
    prediction.wait()

    assert (deployment.owner, deployment.name) == ("local", "lab-deployment")
    assert (prediction.status, prediction.output) == ("succeeded", "done")


def test_list_of_deployments_has_pages_at_our_own_address(
    client: Client, stack: Stack, simulator: SimulatorClient
) -> None:
    simulator.change_settings(page_size=1)
    # The cursor of the first page, because the page without a cursor may still be cached.
    cursor = base64.urlsafe_b64encode(b'{"p": 0}').decode()
    first = client.deployments.list(f"/v1/deployments?cursor={cursor}")
    assert first.next is not None
    second = client.deployments.list(first.next)

    assert first.next.startswith(f"{stack.api_url}/v1/deployments?cursor=")
    assert second.previous is not None
    assert second.previous.startswith(f"{stack.api_url}/v1/deployments?cursor=")
    assert second.next is None
    assert client.deployments.list(second.previous).results == first.results
    names = [deployment.name for page in (first, second) for deployment in page.results]
    assert names == ["lab-deployment", "sdxl-deployment"]


def test_text_and_logs_grow_while_the_client_polls(client: Client) -> None:
    words = [f"word {number} " for number in range(10)]
    prediction = client.predictions.create(
        version=get_version("local/lab"),
        input={
            "output": words,
            "partial": [words[:count] for count in range(1, 11)],
            "logs": "10%\n50%\n90%\n",
            "latency": 8,
        },
    )
    seen: list[tuple[str, str]] = []

    def is_finished() -> bool | None:
        prediction.reload()
        seen.append((prediction.logs or "", "".join(prediction.output or [])))
        return prediction.status == "succeeded" or None

    wait_for(is_finished, timeout_seconds=120, description="the end of the prediction")
    assert seen[-1][1] == "".join(words)
    assert len({output for _, output in seen if output}) > 2
    assert len({logs for logs, _ in seen if logs}) > 1
    assert all(seen[-1][1].startswith(output) for _, output in seen)


def test_text_that_the_client_has_read_is_not_continued_by_another_attempt(
    client: Client, simulator: SimulatorClient
) -> None:
    error = "Prediction interrupted; please retry (code: PA)"
    words = [f"word {number} " for number in range(6)]
    model_input = {"hold": True, "latency": 6, "partial": [words[:count] for count in range(1, 7)]}
    prediction = client.predictions.create(model="local/lab", input=model_input)
    pieces = prediction.output_iterator()
    read = [next(pieces)]
    [replicate_prediction] = simulator.find_predictions(prediction.id)
    simulator.complete_prediction(replicate_prediction["id"], status="failed", error=error)

    with pytest.raises(ModelError, match="please retry"):
        read.extend(pieces)

    assert read == words[: len(read)]
    assert len(simulator.find_predictions(prediction.id)) == 1


def test_cancel_cancels_the_prediction_on_replicate(client: Client, simulator: SimulatorClient) -> None:
    prediction = client.predictions.create(model="local/lab", input={"hold": True})

    def is_running() -> bool | None:
        prediction.reload()
        return prediction.status == "processing" or None

    wait_for(is_running, timeout_seconds=60, description="the start of the prediction")
    prediction.cancel()
    prediction.wait()

    replicate_predictions = simulator.find_predictions(prediction.id)
    assert prediction.status == "canceled"
    assert [found["status"] for found in replicate_predictions] == ["canceled"]


def test_run_raises_model_error_with_replicates_message(client: Client) -> None:
    message = "CUDA out of memory. Tried to allocate 2.00 GiB"

    with pytest.raises(ModelError, match=message) as raised:
        client.run("local/lab", input={"status": "failed", "error": message})

    assert raised.value.prediction.error == message


def test_create_raises_replicate_error_with_our_message_when_request_is_invalid(client: Client) -> None:
    with pytest.raises(ReplicateError) as raised:
        client.predictions.create(version="no version", input={})

    assert raised.value.status == 422
    assert "version: must be" in str(raised.value.detail)


def test_refused_methods_raise_replicate_error_that_says_what_to_use(client: Client) -> None:
    version = get_version(SDXL)
    deployment: dict[str, Any] = {
        "version": version,
        "hardware": "cpu",
        "min_instances": 0,
        "max_instances": 1,
    }
    calls: list[Callable[[], object]] = [
        client.trainings.list,
        lambda: client.trainings.get("abc"),
        lambda: client.trainings.cancel("abc"),
        lambda: client.trainings.create(f"{SDXL}:{version}", input={}, destination="acme/mine"),
        lambda: client.models.create("acme", "mine", visibility="private", hardware="cpu"),
        lambda: client.models.delete("acme", "mine"),
        lambda: client.models.get(SDXL).versions.delete(version),
        lambda: client.deployments.create(name="mine", model=SDXL, **deployment),
        lambda: client.deployments.update("acme", "mine", **deployment),
        lambda: client.deployments.delete("acme", "mine"),
    ]

    for call in calls:
        with pytest.raises(ReplicateError) as raised:
            call()
        assert raised.value.status == 405
        assert "POST /v1/" in str(raised.value.detail)


def test_search_by_query_method_raises_replicate_error(client: Client) -> None:
    """API Gateway has no such method, see docs/api.md; GET /v1/search is there instead."""
    with pytest.raises(ReplicateError) as raised:
        client.models.search("image")

    assert raised.value.status == 404
    assert "GET /v1/search" in str(raised.value.detail)


def test_uploaded_file_can_be_an_input_that_the_model_reads_at_its_url(
    client: Client, simulator: SimulatorClient
) -> None:
    sound = io.BytesIO(b"RIFF....WAVEfmt " + bytes(range(256)) * 40)
    sound.name = "hello.wav"

    file = client.files.create(sound)
    prediction = client.predictions.create(
        version=get_version("openai/whisper"), input={"audio": file.urls["get"]}
    )
    prediction.wait()
    [replicate_prediction] = simulator.find_predictions(prediction.id)
    download = requests.get(replicate_prediction["input"]["audio"], timeout=30)

    assert prediction.status == "succeeded"
    assert file.size == len(sound.getvalue())
    assert download.content == sound.getvalue()
    assert [listed.id for listed in client.files.list()][:1] == [file.id]
    assert client.files.get(file.id).checksums == file.checksums
    assert client.files.delete(file.id)


def test_create_uploads_an_open_file_in_the_input(client: Client, simulator: SimulatorClient) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (64, 64), "teal").save(picture, "PNG")
    picture.seek(0)
    picture.name = "teal.png"

    prediction = client.predictions.create(model="local/lab", input={"image": picture, "output": 1})
    prediction.wait()

    [replicate_prediction] = simulator.find_predictions(prediction.id)
    download = requests.get(replicate_prediction["input"]["image"], timeout=30)
    assert download.content == picture.getvalue()


def test_list_returns_newest_predictions_first(make_client: Callable[[str], Client], api: ApiClient) -> None:
    ids = [api.create("local/lab", {"output": number})["id"] for number in range(3)]

    page = make_client(api.key).predictions.list()

    assert [prediction.id for prediction in page.results] == ids[::-1]
    assert page.next is None


def test_list_returns_all_pages(
    make_client: Callable[[str], Client], stored_predictions: tuple[ApiClient, list[str]]
) -> None:
    api, newest_first = stored_predictions
    client = make_client(api.key)

    pages = [client.predictions.list()]
    while pages[-1].next:
        pages.append(client.predictions.list(pages[-1].next))

    assert [len(page.results) for page in pages] == [100, 100, 3]
    assert [prediction.id for page in pages for prediction in page.results] == newest_first
    assert pages[2].previous is not None
    assert client.predictions.list(pages[2].previous).results == pages[1].results
    assert pages[0].previous is None


def test_catalog_and_account_are_readable(client: Client) -> None:
    sdxl = client.models.get(SDXL)

    assert client.models.get(FLUX).name == "flux-schnell"
    assert sdxl.versions.get(get_version(SDXL)).id == get_version(SDXL)
    assert [version.id for version in sdxl.versions.list()] == [get_version(SDXL)]
    assert SDXL in {model.id for model in client.models.list()}
    assert client.collections.list().results
    assert client.collections.get("text-to-image").models
    assert client.hardware.list()
    assert client.accounts.current().username
    assert client.webhooks.default.secret().key.startswith("whsec_")
