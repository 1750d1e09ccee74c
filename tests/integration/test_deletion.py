"""Deleted predictions on the deployed stack: at once unknown to their owner, and soon without content."""

import secrets
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.integration.api_client import ApiClient
from tests.integration.models import FLUX, SMALL_IMAGE_INPUT
from tools.chaos.background import invoke_sweep
from tools.local.stack import Stack
from tools.local.waiting import wait_for


def list_objects(stack: Stack) -> set[str]:
    pages = (
        stack.get_client("s3")
        .get_paginator("list_objects_v2")
        .paginate(Bucket=stack.outputs["DataBucketName"])
    )
    return {found["Key"] for page in pages for found in page.get("Contents", ())}


def list_objects_of(stack: Stack, prediction: dict[str, Any]) -> set[str]:
    """Return the keys of what a prediction has stored; its files are in folders of its own."""
    folder = "/".join(urlsplit(prediction["output"][0]).path.split("/")[2:4])
    return {key for key in list_objects(stack) if f"/{folder}/" in key or prediction["id"] in key}


def list_rows(stack: Stack, table: str, text: str) -> list[dict[str, Any]]:
    """Return the rows of a table that contain the text."""
    pages = stack.get_client("dynamodb").get_paginator("scan").paginate(TableName=stack.outputs[table])
    return [row for page in pages for row in page["Items"] if text in str(row)]


@pytest.mark.slow
def test_deleted_prediction_leaves_no_content(stack: Stack, api: ApiClient) -> None:
    kept = api.run(FLUX, SMALL_IMAGE_INPUT)
    objects_of_kept = list_objects_of(stack, kept)
    marker = f"prompt {secrets.token_hex(8)}"
    deleted = api.run(
        FLUX,
        {**SMALL_IMAGE_INPUT, "prompt": marker},
        webhook="http://127.0.0.1:9/",
        webhook_events_filter=["completed"],
    )
    path = f"/v1/predictions/{deleted['id']}"
    assert objects_of_kept
    assert list_objects_of(stack, deleted)
    assert list_rows(stack, "JobsTableName", marker)

    assert api.call("DELETE", path).status_code == 204

    assert [api.call(method, path).status_code for method in ("GET", "DELETE")] == [404, 404]
    assert deleted["id"] not in {
        found["id"] for found in api.call("GET", "/v1/predictions").json()["results"]
    }

    def is_empty() -> bool:
        invoke_sweep(stack)
        return not list_objects_of(stack, deleted)

    wait_for(is_empty, timeout_seconds=240, description="the end of the objects")
    assert list_rows(stack, "JobsTableName", marker) == []
    assert list_rows(stack, "DeliveriesTableName", deleted["id"]) == []
    assert list_objects_of(stack, kept) == objects_of_kept
    assert api.get(kept["id"])["output"] == kept["output"]


def test_running_prediction_is_deleted_only_after_its_end(api: ApiClient) -> None:
    running = api.create("local/lab", {"output": "on", "hold": True})
    path = f"/v1/predictions/{running['id']}"

    refused = api.call("DELETE", path)

    assert refused.status_code == 409
    assert "cancel" in refused.json()["detail"]
    assert api.call("POST", f"{path}/cancel").status_code == 200
    api.wait_until_finished(running["id"])
    assert api.call("DELETE", path).status_code == 204


def test_retention_of_a_request_is_validated_and_shown(api: ApiClient) -> None:
    body = {"version": "local/lab", "input": {"output": "brief"}}

    created = api.call("POST", "/v1/predictions", body, headers={"x-retention": "12h"})
    refused = api.call("POST", "/v1/predictions", body, headers={"x-retention": "soon"})

    assert created.status_code == 201
    assert created.json()["proxy"]["expires_at"]
    assert refused.status_code == 422
    assert "X-Retention" in refused.text
