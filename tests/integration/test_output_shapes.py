"""Every output shape of the local Replicate's catalogue comes back the same, with files at our address."""

import io
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from PIL import Image

from tests.integration.api import ApiClient
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
FAILING = {"local/failing"}
SERVED_AS = {"text/markdown": "text/plain"}  # told by the bytes, never by what the source says
AT_A_TIME = 3


def references(value: Any, path: tuple[object, ...] = ()) -> dict[tuple[object, ...], str]:
    """Every URL and data URI in a JSON value, by where it stands."""
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
        where: url
        for key, child in children.items()
        for where, url in references(child, (*path, key)).items()
    }


def without_urls(value: Any) -> Any:
    """The value with each file replaced by one word: its shape and everything that is no file."""
    if isinstance(value, list):
        return [without_urls(each) for each in value]
    if isinstance(value, dict):
        return {key: without_urls(each) for key, each in value.items()}
    return "a file" if references(value) else value


@pytest.fixture(scope="module")
def ended(stack: Stack) -> Iterator[dict[str, Future[dict[str, Any]]]]:
    """Every model's prediction once it is over. A few run at a time: each more would start functions anew."""
    api = ApiClient(stack.api_url, stack.api_key, "demo")

    def run(model: Model) -> dict[str, Any]:
        version = model.full_name if model.is_official else model.version
        return api.run(version, INPUTS.get(model.full_name, {}))

    with ThreadPoolExecutor(AT_A_TIME) as threads:
        yield {model.full_name: threads.submit(run, model) for model in MODELS}


@pytest.mark.parametrize("model", [model.full_name for model in MODELS if model.full_name not in FAILING])
def test_output_keeps_its_shape_and_its_files_are_ours(
    stack: Stack, simulator: SimulatorClient, ended: dict[str, Future[dict[str, Any]]], model: str
) -> None:
    done = ended[model].result()
    upstream = _upstream(stack, simulator, done)

    assert done["status"] == "succeeded", done["error"]
    assert done["error"] is None
    assert without_urls(done["output"]) == without_urls(upstream["output"])
    ours, theirs = references(done["output"]), references(upstream["output"])
    for where, url in ours.items():
        _check_file(stack, url, theirs[where])


def test_failing_model_fails_with_replicates_words_after_one_more_try(
    ended: dict[str, Future[dict[str, Any]]],
) -> None:
    done = ended["local/failing"].result()

    assert (done["status"], done["output"]) == ("failed", None)
    assert done["error"] == "Director: unexpected error handling prediction (E9828)"
    assert done["proxy"]["attempt"] == 2
    assert len(done["proxy"]["past_attempts"]) == 1


def _upstream(stack: Stack, simulator: SimulatorClient, done: dict[str, Any]) -> dict[str, Any]:
    address = f"{stack.simulator_url}/v1/predictions/{done['proxy']['replicate_id']}"
    answer = requests.get(address, headers={"authorization": f"Bearer {simulator.token}"}, timeout=60)
    found: dict[str, Any] = answer.json()
    return found


def _check_file(stack: Stack, url: str, source: str) -> None:
    """Ours answers 200 at once; an image is as large as its source shows, anything else is the same bytes.

    What lies on a host that is not Replicate's is left where it is.
    """
    if urlsplit(source).hostname == "localhost":
        assert url == source
        return
    assert url.startswith(f"{stack.cdn_url}/outputs/")
    bearer = {"authorization": f"Bearer {stack.api_key}"}
    ours = requests.get(url, headers=bearer, timeout=60, allow_redirects=False)
    assert ours.status_code == 200
    if source.startswith("data:"):
        assert _looks(ours.content) == ((200, 200), 1)
        return
    theirs = requests.get(source, timeout=60)
    kind = theirs.headers["content-type"]
    if kind in {"image/png", "image/jpeg", "image/webp", "image/gif"}:
        assert _looks(ours.content) == _looks(theirs.content)
        assert len(ours.content) <= len(theirs.content)
    else:
        assert ours.content == theirs.content
        given = kind.partition(";")[0]
        assert ours.headers["content-type"].partition(";")[0] == SERVED_AS.get(given, given)


def _looks(content: bytes) -> tuple[tuple[int, int], int]:
    """Size in pixels, and number of frames."""
    image = Image.open(io.BytesIO(content))
    return image.size, getattr(image, "n_frames", 1)
