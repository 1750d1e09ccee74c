"""The 2.0 beta of PyPI `replicate`, unmodified."""

import asyncio
import os

import pytest
from replicate import APIStatusError, AsyncReplicate, Replicate
from replicate.exceptions import ModelError

client = Replicate(
    base_url=f"{os.environ['REPLICATE_BASE_URL']}/v1", bearer_token=os.environ["REPLICATE_API_TOKEN"]
)


def test_run_by_model_returns_the_url_of_an_image() -> None:
    model_input = {"prompt": "a lighthouse", "megapixels": "0.25"}
    [image] = client.run("black-forest-labs/flux-schnell", input=model_input)

    assert str(image).endswith(".webp")


def test_run_by_version_returns_text() -> None:
    output = client.run(f"replicate/hello-world:{os.environ['HELLO_VERSION']}", input={"text": "Alice"})

    assert output == "hello Alice"


def test_run_raises_the_error_of_a_failed_model() -> None:
    with pytest.raises(ModelError, match="out of paint"):
        client.run("local/lab", input={"status": "failed", "error": "out of paint"})


def test_prediction_is_created_listed_and_canceled() -> None:
    created = client.predictions.create(version="local/lab", input={"hold": True})
    listed = [prediction.id for prediction in client.predictions.list()]
    canceled = client.predictions.cancel(prediction_id=created.id)

    assert (created.status, canceled.status) == ("starting", "canceled")
    assert created.id in listed
    assert client.predictions.get(prediction_id=created.id).status == "canceled"


def test_deployment_is_read_and_run() -> None:
    names = {"deployment_owner": "local", "deployment_name": "lab-deployment"}
    deployment = client.deployments.get(**names)
    prediction = client.deployments.predictions.create(**names, input={"output": 1}, prefer="wait")

    assert deployment.name == "lab-deployment"
    assert (prediction.status, prediction.output) == ("succeeded", 1)


def test_file_is_uploaded_and_read() -> None:
    file = client.files.create(content=("a.txt", b"text"))

    assert client.files.get(file_id=file.id).size == 4


def test_metadata_of_a_file_is_kept_if_it_is_text() -> None:
    text = client.files.create(content=("a.txt", b"text"), metadata='{"order": 42}')
    # The client sends a part for each value. If this fails, it sends JSON: say so in docs/api.md.
    values = client.files.create(content=("a.txt", b"text"), metadata={"order": 42, "tags": ["a", "b"]})

    assert (text.metadata, values.metadata) == ({"order": 42}, {})


def test_refused_operation_raises_an_error_that_says_what_to_use() -> None:
    with pytest.raises(APIStatusError, match="Trainings are not available here"):
        client.trainings.list()


@pytest.fixture
def environment_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """`stream()` ignores the options of the client: it makes another one from the environment."""
    monkeypatch.setenv("REPLICATE_BASE_URL", f"{os.environ['REPLICATE_BASE_URL']}/v1")


@pytest.mark.usefixtures("environment_client")
def test_stream_yields_the_text_of_a_language_model_by_polling() -> None:
    model_input = {"prompt": "a poem", "max_tokens": 9}

    assert len(list(Replicate().stream("meta/meta-llama-3-8b-instruct", input=model_input))) == 9


@pytest.mark.usefixtures("environment_client")
def test_async_stream_yields_the_text_of_a_language_model_by_polling() -> None:
    async def stream() -> list[str]:
        model_input = {"prompt": "a poem", "max_tokens": 9}
        # The method is a coroutine that returns a coroutine.
        parts = await (await AsyncReplicate().stream("meta/meta-llama-3-8b-instruct", input=model_input))
        return [str(part) async for part in parts]

    assert len(asyncio.run(stream())) == 9
