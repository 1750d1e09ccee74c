"""The official Python client, version 1.0.7, against the simulator."""

import io
from typing import Any

import pytest
from replicate.client import Client
from replicate.exceptions import ModelError, ReplicateError

from tools.simulator.client import SimulatorClient
from tools.simulator.models.model import compute_version_id


def test_run_of_official_model_returns_output_urls(client: Client) -> None:
    output = client.run(
        "black-forest-labs/flux-schnell", input={"prompt": "a", "num_outputs": 2, "width": 64}
    )
    assert [str(url).rsplit("/", 1)[1] for url in output] == ["out-0.webp", "out-1.webp"]


def test_run_by_version_reads_output_schema(client: Client) -> None:
    output = client.run(
        f"replicate/hello-world:{compute_version_id('replicate/hello-world')}", input={"text": "you"}
    )
    assert output == "hello you"


def test_run_without_wait_iterates_growing_text(client: Client) -> None:
    pieces = client.run("meta/meta-llama-3-8b-instruct", input={"prompt": "a", "max_tokens": 12}, wait=False)
    assert len(list(pieces)) == 12


def test_stream_of_language_model_yields_outputs_and_done(client: Client) -> None:
    events = list(client.stream("meta/meta-llama-3-8b-instruct", input={"prompt": "a", "max_tokens": 9}))
    assert [event.event.value for event in events] == ["output"] * 9 + ["done"]


def test_failed_run_raises_model_error_with_text(client: Client) -> None:
    model_input = {"status": "failed", "error": "boom (E9828)", "latency": 0}
    with pytest.raises(ModelError, match="E9828"):
        client.run("local/lab", input=model_input)


def test_canceled_prediction_is_reloaded_and_listed(client: Client) -> None:
    prediction = client.predictions.create(version=compute_version_id("local/lab"), input={"latency": 60})
    prediction.cancel()
    prediction.reload()
    assert prediction.status == "canceled"
    assert [listed.id for listed in client.predictions.list().results] == [prediction.id]


def test_list_follows_next_page(client: Client) -> None:
    for _ in range(101):
        client.predictions.create(model="local/lab", input={"latency": 0})
    first = client.predictions.list()
    assert first.next
    second = client.predictions.list(first.next)
    assert (len(first.results), len(second.results)) == (100, 1)


def test_deployment_runs_prediction_and_shows_release(client: Client) -> None:
    prediction = client.deployments.predictions.create(
        "local/lab-deployment", input={"output": 3, "latency": 0}
    )
    prediction.wait()
    assert prediction.output == 3
    release = client.deployments.get("local/lab-deployment").current_release
    assert release is not None
    assert release.model == "local/lab"


def test_client_reads_models_versions_collections_hardware_and_account(client: Client) -> None:
    model = client.models.get("stability-ai/sdxl")
    versions = model.versions.list().results
    version = model.versions.get(versions[0].id)
    assert model.latest_version is not None
    assert model.latest_version.id == version.id == compute_version_id("stability-ai/sdxl")
    assert "Output" in version.openapi_schema["components"]["schemas"]
    assert "text-to-image" in [collection.slug for collection in client.collections.list()]
    assert {hardware.sku for hardware in client.hardware.list()} >= {"cpu", "gpu-t4"}
    assert client.accounts.current().type == "organization"
    assert client.models.list().results


def test_webhook_secret_is_returned(client: Client, simulator: SimulatorClient) -> None:
    assert client.webhooks.default.secret().key == simulator.webhook_secret


def test_file_is_created_listed_and_deleted(client: Client) -> None:
    uploaded = client.files.create(io.BytesIO(b"hello"), filename="hello.txt", content_type="text/plain")
    assert (uploaded.name, uploaded.size, uploaded.etag) == (
        "hello.txt",
        5,
        "5d41402abc4b2a76b9719d911017c592",
    )
    assert [file.id for file in client.files.list()] == [uploaded.id]
    client.files.delete(uploaded.id)
    with pytest.raises(ReplicateError) as raised:
        client.files.get(uploaded.id)
    assert raised.value.status == 404


def test_file_input_is_uploaded(client: Client, api: Any) -> None:
    prediction = client.predictions.create(
        model="local/lab", input={"image": io.BytesIO(b"png"), "latency": 0}
    )
    assert api.get_prediction(prediction.id)["input"]["image"].startswith(f"{api.simulator.url}/v1/files/")


@pytest.mark.parametrize("status", [402, 422, 429, 500, 503])
def test_error_response_raises_with_status(client: Client, simulator: SimulatorClient, status: int) -> None:
    simulator.inject_fault("create", "status", status=status)
    with pytest.raises(ReplicateError) as raised:
        client.predictions.create(model="local/lab", input={})
    assert raised.value.status == status
