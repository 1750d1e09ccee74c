"""Inputs and outputs too large for a message or a table item go by way of S3, and come back whole."""

import json
from typing import Any

import pytest

from tests.integration.api import ApiClient
from tests.integration.models import get_version
from tools.local.stack import Stack
from tools.simulator.client import SimulatorClient

MEGABYTE = 1_000_000


def test_large_input_reaches_replicate_whole(
    api: ApiClient, simulator: SimulatorClient, stack: Stack
) -> None:
    image = "data:image/png;base64," + "iVBORw0KGgo=" * (2 * MEGABYTE // 12)

    done = api.run("local/lab", {"image": image, "output": "seen"})
    [upstream] = simulator.call_control_api("GET", f"predictions?webhook={done['id']}")["results"]

    assert (done["status"], done["output"]) == ("succeeded", "seen")
    assert upstream["input"]["image"] == done["input"]["image"] == image
    assert _stored(stack, api, done["id"], "input")["image"] == image


def test_large_output_comes_back_whole_and_lies_in_s3(
    api: ApiClient, simulator: SimulatorClient, stack: Stack
) -> None:
    done = api.run(get_version("local/huge-json"), {"size": 3 * MEGABYTE})

    assert done["status"] == "succeeded", done["error"]
    assert [row["row"] for row in done["output"]] == list(range(3 * MEGABYTE // 100))
    assert _stored(stack, api, done["id"], "output") == done["output"]


def test_reply_that_would_be_too_large_leaves_out_the_input_and_says_so(api: ApiClient) -> None:
    """A Lambda reply holds 6 MB (AWS Lambda quotas)."""
    text = "x" * (3 * MEGABYTE)

    done = api.run("local/lab", {"output": text})

    assert done["output"] == text
    assert (done["input"], done["proxy"]["omitted"]) == ({}, ["logs", "input"])


@pytest.mark.parametrize("size", [4_000, 5_000, 300_000])
def test_sizes_around_the_limits_of_items_and_messages(api: ApiClient, size: int) -> None:
    text = "ü" * (size // 2)

    assert api.run("local/lab", {"output": text})["output"] == text


def _stored(stack: Stack, api: ApiClient, job_id: str, name: str) -> Any:
    key = f"records/{api.tenant}/{job_id}/{name}.json"
    stored = stack.get_client("s3").get_object(Bucket=stack.outputs["DataBucketName"], Key=key)
    return json.loads(stored["Body"].read())
