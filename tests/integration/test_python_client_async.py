"""The async half of PyPI `replicate`."""

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


def with_client[T](stack: Stack, work: Callable[[Client], Awaitable[T]]) -> T:
    """Runs `work(client)` in a loop of its own and closes the client's connections."""

    async def scenario() -> T:
        client = Client(api_token=stack.api_key, base_url=stack.api_url)
        try:
            return await work(client)
        finally:
            await client._async_client.aclose()
            client._client.close()

    return asyncio.run(scenario())


def test_runs_at_once_by_model_and_by_version(stack: Stack) -> None:
    async def work(client: Client) -> list[bytes]:
        square = {"prompt": "a fox", "width": 256, "height": 256}
        outputs = await asyncio.gather(
            client.async_run(FLUX, input=SMALL_IMAGE_INPUT),
            client.async_run(f"{SDXL}:{get_version(SDXL)}", input=square),
        )
        urls = [url for output in outputs if isinstance(output, list) for url in output]
        return [await FileOutput(url, client).aread() for url in urls]

    contents = with_client(stack, work)

    assert [Image.open(io.BytesIO(content)).size for content in contents] == [(512, 512), (256, 256)]


def test_run_of_a_model_that_yields_pieces_gives_an_async_iterator(stack: Stack) -> None:
    async def work(client: Client) -> list[str]:
        output = await client.async_run(
            f"{LLAMA}:{get_version(LLAMA)}", input={"prompt": "a poem", "max_tokens": 9}
        )
        return [piece async for piece in output]

    pieces = with_client(stack, work)

    assert len(pieces) == 9


def test_create_wait_and_cancel(stack: Stack) -> None:
    async def work(client: Client) -> tuple[Prediction, Prediction]:
        done, held = await asyncio.gather(
            client.predictions.async_create(model="local/lab", input={"output": [1, {"a": None}]}),
            client.predictions.async_create(model="local/lab", input={"hold": True}),
        )
        await held.async_cancel()
        await asyncio.gather(done.async_wait(), held.async_wait())
        return done, held

    done, held = with_client(stack, work)

    assert (done.status, done.output) == ("succeeded", [1, {"a": None}])
    assert held.status == "canceled"


def test_model_failure_raises_model_error(stack: Stack) -> None:
    async def work(client: Client) -> None:
        await client.async_run("local/lab", input={"status": "failed", "error": "out of paint"})

    with pytest.raises(ModelError, match="out of paint"):
        with_client(stack, work)
