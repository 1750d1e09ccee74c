"""The asynchronous methods of Replicate's unmodified Python client."""

import asyncio
import io
from collections.abc import Awaitable, Callable

import pytest
from PIL import Image
from replicate.client import Client
from replicate.exceptions import ModelError
from replicate.helpers import FileOutput
from replicate.prediction import Prediction

from tests.integration.models import FLUX, LLAMA, SDXL, SMALL_IMAGE_INPUT, get_version
from tools.local.stack import Stack


def _run_with_client[T](stack: Stack, function: Callable[[Client], Awaitable[T]]) -> T:
    """Run `function(client)` in a new event loop and close the client's connections."""

    async def run() -> T:
        client = Client(api_token=stack.api_key, base_url=stack.api_url)
        try:
            return await function(client)
        finally:
            await client._async_client.aclose()
            client._client.close()

    return asyncio.run(run())


def test_simultaneous_runs_by_model_and_version_return_images(stack: Stack) -> None:
    async def run_models(client: Client) -> list[bytes]:
        outputs = await asyncio.gather(
            client.async_run(FLUX, input=SMALL_IMAGE_INPUT),
            client.async_run(
                f"{SDXL}:{get_version(SDXL)}", input={"prompt": "a fox", "width": 256, "height": 256}
            ),
        )
        urls = [url for output in outputs if isinstance(output, list) for url in output]
        return [await FileOutput(url, client).aread() for url in urls]

    contents = _run_with_client(stack, run_models)

    assert [Image.open(io.BytesIO(content)).size for content in contents] == [(512, 512), (256, 256)]


def test_run_returns_an_async_iterator_when_the_model_yields_parts(stack: Stack) -> None:
    async def run_model(client: Client) -> list[str]:
        output = await client.async_run(
            f"{LLAMA}:{get_version(LLAMA)}", input={"prompt": "a poem", "max_tokens": 9}
        )
        return [part async for part in output]

    assert len(_run_with_client(stack, run_model)) == 9


def test_wait_returns_after_success_and_cancellation(stack: Stack) -> None:
    async def run_predictions(client: Client) -> tuple[Prediction, Prediction]:
        first, second = await asyncio.gather(
            client.predictions.async_create(model="local/lab", input={"output": [1, {"a": None}]}),
            client.predictions.async_create(model="local/lab", input={"hold": True}),
        )
        await second.async_cancel()
        await asyncio.gather(first.async_wait(), second.async_wait())
        return first, second

    first, second = _run_with_client(stack, run_predictions)

    assert (first.status, first.output) == ("succeeded", [1, {"a": None}])
    assert second.status == "canceled"


def test_run_raises_model_error_when_the_model_fails(stack: Stack) -> None:
    async def run_model(client: Client) -> None:
        await client.async_run("local/lab", input={"status": "failed", "error": "out of paint"})

    with pytest.raises(ModelError, match="out of paint"):
        _run_with_client(stack, run_model)
