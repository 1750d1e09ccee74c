"""PyPI `replicate`, unmodified, knows nothing but the base URL and a key."""

import io
from collections.abc import Callable

import pytest
import requests
from PIL import Image
from replicate.client import Client
from replicate.exceptions import ModelError, ReplicateError
from replicate.helpers import FileOutput

from tests.integration.api import ApiClient
from tests.integration.models import FLUX, LLAMA, SDXL, SMALL_IMAGE_INPUT, get_version
from tools.local import waiting
from tools.simulator.client import SimulatorClient


def image(content: bytes) -> Image.Image:
    opened = Image.open(io.BytesIO(content))
    opened.load()
    return opened


def test_run_by_model_gives_images_that_the_client_reads_with_its_token(client: Client) -> None:
    output = list(client.run(FLUX, input={**SMALL_IMAGE_INPUT, "num_outputs": 2, "output_format": "png"}))

    assert len(output) == 2
    # Over http:// the client leaves strings; its FileOutput is what wraps them over https://.
    # It sends the API key along, and so must be answered here.
    for url in output:
        assert image(FileOutput(url, client).read()).size == (512, 512)


def test_run_by_versioned_reference_looks_the_version_up_with_us(client: Client) -> None:
    output = client.run(f"{SDXL}:{get_version(SDXL)}", input={"prompt": "a fox", "width": 256, "height": 256})

    assert [image(FileOutput(url, client).read()).size for url in output] == [(256, 256)]


def test_run_of_a_model_that_yields_pieces_gives_an_iterator(client: Client) -> None:
    output = client.run(f"{LLAMA}:{get_version(LLAMA)}", input={"prompt": "a poem", "max_tokens": 12})

    assert not isinstance(output, list)
    assert len(list(output)) == 12


def test_create_wait_reload(client: Client) -> None:
    prediction = client.predictions.create(model=FLUX, input=SMALL_IMAGE_INPUT)
    before = prediction.copy()
    prediction.wait()
    seen = prediction.output
    prediction.reload()

    assert before.status in {"starting", "processing"}
    assert before.output is None
    assert prediction.status == "succeeded"
    assert prediction.output == seen
    assert prediction.metrics is not None
    assert prediction.metrics["predict_time"] > 0
    assert prediction.progress is not None
    assert prediction.progress.percentage == 1.0
    assert client.predictions.get(prediction.id) == prediction


def test_create_of_a_deployment(client: Client) -> None:
    prediction = client.deployments.predictions.create("local/lab-deployment", input={"output": "done"})
    prediction.wait()

    assert (prediction.status, prediction.output) == ("succeeded", "done")


def test_cancel_reaches_replicate(client: Client, simulator: SimulatorClient) -> None:
    prediction = client.predictions.create(model="local/lab", input={"hold": True})

    def running() -> bool | None:
        prediction.reload()
        return prediction.status == "processing" or None

    waiting.wait_for(running, timeout_seconds=60, description="start")
    prediction.cancel()
    prediction.wait()

    upstream = simulator.call_control_api("GET", f"predictions?webhook={prediction.id}")["results"]
    assert prediction.status == "canceled"
    assert [each["status"] for each in upstream] == ["canceled"]


def test_model_failure_raises_model_error_with_replicates_words(client: Client) -> None:
    words = "CUDA out of memory. Tried to allocate 2.00 GiB"

    with pytest.raises(ModelError, match=words) as caught:
        client.run("local/lab", input={"status": "failed", "error": words})

    assert caught.value.prediction.error == words


def test_refused_request_raises_replicate_error_with_our_words(client: Client) -> None:
    with pytest.raises(ReplicateError) as caught:
        client.predictions.create(version="no version", input={})

    assert caught.value.status == 422
    assert "version: must be" in str(caught.value.detail)


def test_uploaded_file_is_an_input_that_anyone_with_its_address_can_read(
    client: Client, simulator: SimulatorClient
) -> None:
    sound = io.BytesIO(b"RIFF....WAVEfmt " + bytes(range(256)) * 40)
    sound.name = "hello.wav"

    uploaded = client.files.create(sound)
    prediction = client.predictions.create(
        version=get_version("openai/whisper"), input={"audio": uploaded.urls["get"]}
    )
    prediction.wait()
    [upstream] = simulator.call_control_api("GET", f"predictions?webhook={prediction.id}")["results"]
    fetched = requests.get(upstream["input"]["audio"], timeout=30)

    assert prediction.status == "succeeded"
    assert uploaded.size == len(sound.getvalue())
    assert fetched.content == sound.getvalue()
    assert [each.id for each in client.files.list()][:1] == [uploaded.id]
    assert client.files.get(uploaded.id).checksums == uploaded.checksums
    assert client.files.delete(uploaded.id)


def test_open_file_as_input_is_uploaded_on_the_way(client: Client, simulator: SimulatorClient) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (64, 64), "teal").save(picture, "PNG")
    picture.seek(0)
    picture.name = "teal.png"

    prediction = client.predictions.create(model="local/lab", input={"image": picture, "output": 1})
    prediction.wait()

    [upstream] = simulator.call_control_api("GET", f"predictions?webhook={prediction.id}")["results"]
    assert requests.get(upstream["input"]["image"], timeout=30).content == picture.getvalue()


def test_list_is_newest_first(client_of: Callable[[str], Client], api: ApiClient) -> None:
    made = [api.create("local/lab", {"output": number})["id"] for number in range(3)]

    page = client_of(api.key).predictions.list()

    assert [each.id for each in page.results] == made[::-1]
    assert page.next is None


def test_list_follows_cursors_to_the_end(
    client_of: Callable[[str], Client], crowd: tuple[ApiClient, list[str]]
) -> None:
    """203 predictions are three pages."""
    api, newest_first = crowd
    client = client_of(api.key)

    pages = [client.predictions.list()]
    while pages[-1].next:
        pages.append(client.predictions.list(pages[-1].next))

    assert [len(page.results) for page in pages] == [100, 100, 3]
    assert [each.id for page in pages for each in page.results] == newest_first


def test_catalog_and_account(client: Client) -> None:
    assert client.models.get(FLUX).name == "flux-schnell"
    assert client.models.get(SDXL).versions.get(get_version(SDXL)).id == get_version(SDXL)
    assert client.collections.list().results
    assert client.hardware.list()
    assert client.accounts.current().username
