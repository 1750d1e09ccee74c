"""The demo's request, with the models of the local Replicate behind the stack's API."""

from collections.abc import Iterator
from typing import Any

import pytest
import responses

from tools.local.demo.request import DEFAULT_PROMPT, ModelRequest, build_request
from tools.local.errors import LocalError
from tools.local.stack import Stack
from tools.simulator.models.catalog import MODELS
from tools.simulator.models.model import build_model_view, compute_version_id

API = "http://127.0.0.1:1/local"
STACK = Stack(
    stack_name="s",
    region="r",
    endpoint_url="e",
    api_url=API,
    simulator_url="http://127.0.0.1:2",
    cdn_url="c",
    api_key="rp_key",
    admin_key="a",
    upstream_url="http://127.0.0.1:2",
    webhooks_enabled=True,
)


@pytest.fixture(autouse=True)
def models() -> Iterator[None]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        views: list[dict[str, Any]] = [build_model_view(model) for model in MODELS]
        for view in views:
            mock.get(f"{API}/v1/models/{view['owner']}/{view['name']}", json=view)
        mock.get(f"{API}/v1/models", json={"results": views})
        mock.get(f"{API}/v1/models/owner/name", json={"detail": "Not found"}, status=404)
        mock.get(f"{API}/v1/models/owner/broken", body="down", status=503)
        yield


def test_default_is_an_official_model_by_name_with_a_png() -> None:
    request = build_request(STACK)

    assert request == ModelRequest(
        "black-forest-labs/flux-schnell", None, {"prompt": DEFAULT_PROMPT, "output_format": "png"}
    )


def test_model_that_is_not_official_gets_its_latest_version() -> None:
    request = build_request(STACK, model="stability-ai/sdxl", prompt="a red bicycle")

    assert request.version == compute_version_id("stability-ai/sdxl")
    assert request.input == {"prompt": "a red bicycle"}
    assert request.reference == f"stability-ai/sdxl:{request.version[:12]}"


def test_named_version_is_kept() -> None:
    assert build_request(STACK, model=f"stability-ai/sdxl:{'a' * 64}").version == "a" * 64


def test_prompt_goes_to_the_input_that_the_model_has() -> None:
    request = build_request(STACK, model="replicate/hello-world", prompt="Alice")

    assert request.input == {"text": "Alice"}
    assert request.title == "Alice"


def test_input_is_added_and_wins() -> None:
    request = build_request(STACK, input_json='{"num_outputs": 2, "output_format": "webp"}')

    assert request.input == {"prompt": DEFAULT_PROMPT, "num_outputs": 2, "output_format": "webp"}


@pytest.mark.parametrize("model", ["garbage", "owner/name", "a/b/c", "/x", "x/"])
def test_unknown_model_is_refused_with_the_models_that_work(model: str) -> None:
    with pytest.raises(LocalError) as caught:
        build_request(STACK, model=model)

    message = str(caught.value)
    assert message.startswith(f"there is no model {model}; the local Replicate has ")
    assert "stability-ai/sdxl" in message
    assert "\n" not in message


def test_other_failures_are_one_line_with_the_status() -> None:
    with pytest.raises(LocalError, match="cannot read the model owner/broken: 503 down"):
        build_request(STACK, model="owner/broken")


def test_missing_input_is_named_with_an_example() -> None:
    with pytest.raises(LocalError, match=r"openai/whisper needs audio: pass INPUT='\{\"audio\": \"…\"\}'"):
        build_request(STACK, model="openai/whisper")


@pytest.mark.parametrize("text", ["{", "[]", "2"])
def test_input_that_is_no_object_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(LocalError, match="for example INPUT="):
        build_request(STACK, input_json=text)
