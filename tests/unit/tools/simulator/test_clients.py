"""The official Python client, version 1.0.7, against the local Replicate."""

import io
from typing import Any

import pytest
from replicate.client import Client
from replicate.exceptions import ModelError, ReplicateError

from tools.simulator.client import SimulatorClient
from tools.simulator.ids import version_id


def test_run_of_an_official_model_gives_its_urls(client: Client) -> None:
    output = client.run(
        "black-forest-labs/flux-schnell", input={"prompt": "a", "num_outputs": 2, "width": 64}
    )
    assert [str(url).rsplit("/", 1)[1] for url in output] == ["out-0.webp", "out-1.webp"]


def test_run_of_a_versioned_model_reads_its_schema(client: Client) -> None:
    output = client.run(f"replicate/hello-world:{version_id('replicate/hello-world')}", input={"text": "you"})
    assert output == "hello you"


def test_run_without_waiting_polls_the_growing_text(client: Client) -> None:
    pieces = client.run("meta/meta-llama-3-8b-instruct", input={"prompt": "a", "max_tokens": 12}, wait=False)
    assert len(list(pieces)) == 12


def test_stream_of_a_language_model(client: Client) -> None:
    events = list(client.stream("meta/meta-llama-3-8b-instruct", input={"prompt": "a", "max_tokens": 9}))
    assert [event.event.value for event in events] == ["output"] * 9 + ["done"]


def test_a_failed_run_raises_with_the_error_text(client: Client) -> None:
    given = {"status": "failed", "error": "boom (E9828)", "latency": 0}
    with pytest.raises(ModelError, match="E9828"):
        client.run("local/lab", input=given)


def test_create_reload_cancel_list(client: Client) -> None:
    made = client.predictions.create(version=version_id("local/lab"), input={"latency": 60})
    made.cancel()
    made.reload()
    assert made.status == "canceled"
    assert [prediction.id for prediction in client.predictions.list().results] == [made.id]


def test_pages_are_followed(client: Client) -> None:
    for _ in range(101):
        client.predictions.create(model="local/lab", input={"latency": 0})
    first = client.predictions.list()
    assert first.next
    second = client.predictions.list(first.next)
    assert (len(first.results), len(second.results)) == (100, 1)


def test_deployments(client: Client) -> None:
    prediction = client.deployments.predictions.create(
        "local/lab-deployment", input={"output": 3, "latency": 0}
    )
    prediction.wait()
    assert prediction.output == 3
    release = client.deployments.get("local/lab-deployment").current_release
    assert release is not None
    assert release.model == "local/lab"


def test_models_versions_collections_hardware_account(client: Client) -> None:
    model = client.models.get("stability-ai/sdxl")
    versions = model.versions.list().results
    version = model.versions.get(versions[0].id)
    assert model.latest_version is not None
    assert model.latest_version.id == version.id == version_id("stability-ai/sdxl")
    assert "Output" in version.openapi_schema["components"]["schemas"]
    assert "text-to-image" in [collection.slug for collection in client.collections.list()]
    assert {hardware.sku for hardware in client.hardware.list()} >= {"cpu", "gpu-t4"}
    assert client.accounts.current().type == "organization"
    assert client.models.list().results


def test_webhook_secret(client: Client, remote: SimulatorClient) -> None:
    assert client.webhooks.default.secret().key == remote.webhook_secret


def test_files(client: Client) -> None:
    stored = client.files.create(io.BytesIO(b"hello"), filename="hello.txt", content_type="text/plain")
    assert (stored.name, stored.size, stored.etag) == ("hello.txt", 5, "5d41402abc4b2a76b9719d911017c592")
    assert [file.id for file in client.files.list()] == [stored.id]
    client.files.delete(stored.id)
    with pytest.raises(ReplicateError) as caught:
        client.files.get(stored.id)
    assert caught.value.status == 404


def test_a_file_input_is_uploaded(client: Client, api: Any) -> None:
    prediction = client.predictions.create(
        model="local/lab", input={"image": io.BytesIO(b"png"), "latency": 0}
    )
    assert api.get(prediction.id)["input"]["image"].startswith(f"{api.remote.url}/v1/files/")


@pytest.mark.parametrize("status", [402, 422, 429, 500, 503])
def test_an_error_reply_raises_with_its_status(client: Client, remote: SimulatorClient, status: int) -> None:
    remote.inject_fault("create", "status", status=status)
    with pytest.raises(ReplicateError) as caught:
        client.predictions.create(model="local/lab", input={})
    assert caught.value.status == status
