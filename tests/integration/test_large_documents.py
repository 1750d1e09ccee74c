"""Inputs and outputs that are too large for a message or an item of a table are stored in S3."""

import json
from typing import Any

import pytest
import requests

from tests.integration.api_client import ApiClient
from tests.integration.models import get_version
from tools.local.stack import Stack
from tools.simulator.client import SimulatorClient

MEGABYTE = 1_000_000


def _read_stored_document(stack: Stack, api: ApiClient, job_id: str, name: str) -> Any:
    """Return the only stored document whose name begins so; those of results end with a revision."""
    s3, bucket = stack.get_client("s3"), stack.outputs["DataBucketName"]
    prefix = f"records/{api.tenant}/{job_id}/{name}"
    (document,) = s3.list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]
    return json.loads(s3.get_object(Bucket=bucket, Key=document["Key"])["Body"].read())


def test_large_input_reaches_replicate_unchanged(
    api: ApiClient, simulator: SimulatorClient, stack: Stack
) -> None:
    image = "data:image/png;base64," + "iVBORw0KGgo=" * (2 * MEGABYTE // 12)

    job = api.run("local/lab", {"image": image, "output": "seen"})
    [replicate_prediction] = simulator.find_predictions(job["id"])

    assert (job["status"], job["output"]) == ("succeeded", "seen")
    assert replicate_prediction["input"]["image"] == job["input"]["image"] == image
    assert _read_stored_document(stack, api, job["id"], "input")["image"] == image


def test_large_output_is_returned_unchanged_and_stored_in_s3(api: ApiClient, stack: Stack) -> None:
    job = api.run(get_version("local/huge-json"), {"size": 3 * MEGABYTE})

    assert job["status"] == "succeeded", job["error"]
    assert [row["row"] for row in job["output"]] == list(range(3 * MEGABYTE // 100))
    assert _read_stored_document(stack, api, job["id"], "output") == job["output"]


def test_response_omits_the_input_when_it_would_be_too_large(api: ApiClient) -> None:
    """The response of a function is limited to 6 MB (AWS Lambda quotas)."""
    text = "x" * (3 * MEGABYTE)

    job = api.run("local/lab", {"output": text})

    assert job["output"] == text
    assert (job["input"], job["proxy"]["omitted"]) == ({}, ["logs", "input"])


@pytest.mark.parametrize("size_bytes", [4_000, 5_000, 300_000])
def test_output_is_returned_unchanged_around_the_limits_of_items_and_messages(
    api: ApiClient, size_bytes: int
) -> None:
    text = "ü" * (size_bytes // 2)

    assert api.run("local/lab", {"output": text})["output"] == text


def test_output_too_large_for_a_response_is_a_file(api: ApiClient) -> None:
    job = api.run(get_version("local/huge-json"), {"size": 6 * MEGABYTE})

    assert job["status"] == "succeeded", job["error"]
    assert job["output"].endswith("/output.json")
    output = requests.get(job["output"], timeout=60).json()
    assert [row["row"] for row in output] == list(range(6 * MEGABYTE // 100))
    assert job["proxy"]["files"][-1]["reason"] == "output_too_large"
