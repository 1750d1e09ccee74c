"""Every output shape of the local Replicate's catalogue comes back the same, with files at our address."""

import io
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from PIL import Image

from local.replicate.models.base import Model
from local.replicate.models.catalogue import MODELS
from local.replicate.remote import Remote
from local.stack import Stack
from tests.integration.api import Api

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


def references(value: Any, path: tuple[object, ...] = ()) -> dict[tuple[object, ...], str]:
    """Every URL and data URI in a JSON value, by where it stands."""
    if isinstance(value, str) and value.startswith(("http://", "https://", "data:")):
        return {path: value}
    children = (
        enumerate(value) if isinstance(value, list) else value.items() if isinstance(value, dict) else ()
    )
    return {where: url for key, child in children for where, url in references(child, (*path, key)).items()}


def without_urls(value: Any) -> Any:
    """The value with each file replaced by one word: its shape and everything that is no file."""
    if isinstance(value, list):
        return [without_urls(each) for each in value]
    if isinstance(value, dict):
        return {key: without_urls(each) for key, each in value.items()}
    return "a file" if references(value) else value


@pytest.fixture(scope="module")
def jobs(stack: Stack) -> dict[str, dict[str, Any]]:
    """All models run at once; each test then looks at its own."""
    api = Api(stack.api_url, stack.api_key, "demo")

    def run(model: Model) -> dict[str, Any]:
        version = model.full_name if model.official else model.version
        return api.create(version, INPUTS.get(model.full_name, {}))

    with ThreadPoolExecutor(2) as threads:
        return dict(zip([model.full_name for model in MODELS], threads.map(run, MODELS), strict=True))


@pytest.mark.parametrize("model", [model.full_name for model in MODELS if model.full_name not in FAILING])
def test_output_keeps_its_shape_and_its_files_are_ours(
    stack: Stack, simulator: Remote, jobs: dict[str, dict[str, Any]], model: str
) -> None:
    api = Api(stack.api_url, stack.api_key, "demo")
    done = api.finished(jobs[model]["id"], seconds=150)
    upstream = _upstream(stack, simulator, done)

    assert done["status"] == "succeeded", done["error"]
    assert done["error"] is None
    assert without_urls(done["output"]) == without_urls(upstream["output"])
    ours, theirs = references(done["output"]), references(upstream["output"])
    for where, url in ours.items():
        _check_file(stack, url, theirs[where])


def test_failing_model_fails_with_replicates_words_after_one_more_try(
    stack: Stack, jobs: dict[str, dict[str, Any]]
) -> None:
    api = Api(stack.api_url, stack.api_key, "demo")
    done = api.finished(jobs["local/failing"]["id"])

    assert (done["status"], done["output"]) == ("failed", None)
    assert done["error"] == "Director: unexpected error handling prediction (E9828)"
    assert done["proxy"]["attempt"] == 2
    assert len(done["proxy"]["past_attempts"]) == 1


def _upstream(stack: Stack, simulator: Remote, done: dict[str, Any]) -> dict[str, Any]:
    address = f"{stack.simulator_url}/v1/predictions/{done['proxy']['replicate_id']}"
    answer = requests.get(address, headers={"authorization": f"Bearer {simulator.token}"}, timeout=60)
    found: dict[str, Any] = answer.json()
    return found


def _check_file(stack: Stack, url: str, source: str) -> None:
    """Ours answers 200 at once; an image is as large as its source shows, anything else is the same bytes."""
    assert url.startswith(f"{stack.cdn_url}/outputs/")
    bearer = {"authorization": f"Bearer {stack.api_key}"}
    ours = requests.get(url, headers=bearer, timeout=60, allow_redirects=False)
    assert ours.status_code == 200
    if source.startswith("data:"):
        assert Image.open(io.BytesIO(ours.content)).size == (200, 200)
        return
    theirs = requests.get(source, timeout=60)
    kind = theirs.headers["content-type"]
    if kind in {"image/png", "image/jpeg", "image/webp"}:
        assert Image.open(io.BytesIO(ours.content)).size == Image.open(io.BytesIO(theirs.content)).size
        assert len(ours.content) <= len(theirs.content)
    else:
        assert ours.content == theirs.content
        assert ours.headers["content-type"].partition(";")[0] == kind.partition(";")[0]
