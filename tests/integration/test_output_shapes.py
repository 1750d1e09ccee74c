"""Outputs of all models of the local Replicate keep their shape; their files get our URLs."""

import io
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from PIL import Image

from tests.integration.api_client import ApiClient
from tools.local.stack import Stack
from tools.simulator.client import SimulatorClient
from tools.simulator.models.catalog import MODELS
from tools.simulator.models.model import Model

INPUTS: dict[str, dict[str, Any]] = {
    "black-forest-labs/flux-schnell": {"prompt": "a hare", "num_outputs": 2, "megapixels": "0.25"},
    "black-forest-labs/flux-1.1-pro": {"prompt": "a hare"},
    "stability-ai/sdxl": {"prompt": "a hare", "width": 320, "height": 256},
    "meta/meta-llama-3-8b-instruct": {"prompt": "a poem", "max_tokens": 8},
    "openai/whisper": {"audio": "https://example.com/a.wav"},
    "replicate/hello-world": {"text": "Alice"},
    "minimax/video-01": {"prompt": "a wave"},
    "local/many-files": {"n": 12},
    "local/huge-json": {"size": 3_000_000},
}
FAILING_MODEL = "local/failing"
SUCCEEDING_MODELS = [model.full_name for model in MODELS if model.full_name != FAILING_MODEL]
IMAGE_TYPES = {"image/png", "image/jpeg", "image/webp", "image/gif"}
# The type is detected from the content, in which Markdown does not differ from plain text.
DETECTED_TYPES = {"text/markdown": "text/plain"}
# More simultaneous jobs would start more workers.
SIMULTANEOUS_JOBS = 3


@pytest.fixture(scope="module")
def finished(stack: Stack) -> Iterator[dict[str, Future[dict[str, Any]]]]:
    """The finished prediction of each model, by name."""
    api = ApiClient(stack.api_url, stack.api_key, "demo")

    def run(model: Model) -> dict[str, Any]:
        version = model.full_name if model.is_official else model.version
        return api.run(version, INPUTS.get(model.full_name, {}))

    with ThreadPoolExecutor(SIMULTANEOUS_JOBS) as threads:
        yield {model.full_name: threads.submit(run, model) for model in MODELS}


@pytest.mark.parametrize("model", SUCCEEDING_MODELS)
def test_output_keeps_its_shape_and_files_get_our_urls(
    stack: Stack, simulator: SimulatorClient, finished: dict[str, Future[dict[str, Any]]], model: str
) -> None:
    prediction = finished[model].result()
    replicate_output = _fetch_replicate_output(stack, simulator, prediction)

    assert prediction["status"] == "succeeded", prediction["error"]
    assert prediction["error"] is None
    assert _replace_urls(prediction["output"]) == _replace_urls(replicate_output)
    source_urls = _find_urls(replicate_output)
    for path, url in _find_urls(prediction["output"]).items():
        _check_file(stack, url, source_urls[path])


def test_failing_model_fails_with_replicates_message_after_a_retry(
    finished: dict[str, Future[dict[str, Any]]],
) -> None:
    prediction = finished[FAILING_MODEL].result()

    assert (prediction["status"], prediction["output"]) == ("failed", None)
    assert prediction["error"] == "Director: unexpected error handling prediction (E9828)"
    assert prediction["proxy"]["attempt"] == 2
    assert len(prediction["proxy"]["past_attempts"]) == 1


def _fetch_replicate_output(stack: Stack, simulator: SimulatorClient, prediction: dict[str, Any]) -> Any:
    url = f"{stack.simulator_url}/v1/predictions/{prediction['proxy']['replicate_id']}"
    headers = {"authorization": f"Bearer {simulator.token}"}
    return requests.get(url, headers=headers, timeout=60).json()["output"]


def _find_urls(value: Any, path: tuple[object, ...] = ()) -> dict[tuple[object, ...], str]:
    """Return every URL and data URI in a JSON value, by its path."""
    match value:
        case str() if value.startswith(("http://", "https://", "data:")):
            return {path: value}
        case dict():
            children = dict(value)
        case list():
            children = dict(enumerate(value))
        case _:
            children = {}
    return {
        url_path: url
        for key, child in children.items()
        for url_path, url in _find_urls(child, (*path, key)).items()
    }


def _replace_urls(value: Any) -> Any:
    """Return the JSON value with the same text for every URL."""
    if isinstance(value, list):
        return [_replace_urls(item) for item in value]
    if isinstance(value, dict):
        return {key: _replace_urls(item) for key, item in value.items()}
    return "a file" if _find_urls(value) else value


def _check_file(stack: Stack, url: str, source_url: str) -> None:
    """Check that our file is an image of the same size as its source, or has the same bytes.

    Files on hosts that are not Replicate's keep their URLs.
    """
    if urlsplit(source_url).hostname == "localhost":
        assert url == source_url
        return
    assert url.startswith(f"{stack.cdn_url}/outputs/")
    headers = {"authorization": f"Bearer {stack.api_key}"}
    response = requests.get(url, headers=headers, timeout=60, allow_redirects=False)
    assert response.status_code == 200
    if source_url.startswith("data:"):
        assert _get_size_and_frames(response.content) == ((200, 200), 1)
        return
    source = requests.get(source_url, timeout=60)
    content_type = source.headers["content-type"]
    if content_type in IMAGE_TYPES:
        assert _get_size_and_frames(response.content) == _get_size_and_frames(source.content)
        assert len(response.content) <= len(source.content)
    else:
        assert response.content == source.content
        source_type = content_type.partition(";")[0]
        expected_type = DETECTED_TYPES.get(source_type, source_type)
        assert response.headers["content-type"].partition(";")[0] == expected_type


def _get_size_and_frames(content: bytes) -> tuple[tuple[int, int], int]:
    """Return size in pixels and number of frames."""
    image = Image.open(io.BytesIO(content))
    return image.size, getattr(image, "n_frames", 1)
