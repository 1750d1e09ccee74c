"""Output files, their removal, and uploaded files."""

import hashlib
from typing import Any

import pytest
import requests

from tools.simulator.client import SimulatorClient

IMAGE = {"$file": "png", "width": 64, "height": 64}


@pytest.fixture
def url(api: Any) -> str:
    output: str = api.run_lab(output=IMAGE)["output"]
    return output


def test_output_file_has_storage_headers_and_supports_head(url: str) -> None:
    get, head = requests.get(url, timeout=5), requests.head(url, timeout=5)
    assert get.headers["etag"] == f'"{hashlib.md5(get.content, usedforsecurity=False).hexdigest()}"'
    assert get.headers["cache-control"] == "public,max-age=3600"
    assert get.headers["content-type"] == "image/png"
    assert (head.content, head.headers["content-length"]) == (b"", str(len(get.content)))


def test_output_file_ignores_authorization(url: str) -> None:
    assert requests.get(url, headers={"Authorization": "Bearer wrong"}, timeout=5).status_code == 200


@pytest.mark.parametrize(
    ("range_header", "part"),
    [("bytes=0-9", slice(0, 10)), ("bytes=100-", slice(100, None)), ("bytes=-5", slice(-5, None))],
)
def test_range_request_returns_that_part(url: str, range_header: str, part: slice) -> None:
    whole = requests.get(url, timeout=5).content
    response = requests.get(url, headers={"Range": range_header}, timeout=5)
    assert (response.status_code, response.content) == (206, whole[part])
    assert response.headers["content-range"].endswith(f"/{len(whole)}")


def test_range_beyond_end_is_416(url: str) -> None:
    response = requests.get(url, headers={"Range": "bytes=99999999-"}, timeout=5)
    assert response.status_code == 416


def test_output_file_has_requested_content_type(api: Any) -> None:
    output = api.run_lab(output={**IMAGE, "content_type": "text/html"})["output"]
    assert requests.get(output, timeout=5).headers["content-type"].startswith("text/html")


def test_sync_response_has_data_uris_when_enabled(api: Any, simulator: SimulatorClient) -> None:
    simulator.change_settings(sync_data_uris=True)
    prediction = api.run_lab(output=[IMAGE])
    assert prediction["output"][0].startswith("data:image/png;base64,")
    assert api.get_prediction(prediction["id"])["output"][0].startswith("http")


def test_expired_prediction_loses_data_and_keeps_record(api: Any, simulator: SimulatorClient) -> None:
    prediction = api.run_lab(output=IMAGE, logs="l", secret="s")
    simulator.call_control_api("POST", f"predictions/{prediction['id']}/expire")
    expired = api.get_prediction(prediction["id"])
    assert (expired["status"], expired["data_removed"]) == ("succeeded", True)
    assert (expired["input"], expired["output"], expired["logs"]) == ({}, None, "")
    download = requests.get(prediction["output"], timeout=5)
    assert (download.status_code, b"NoSuchKey" in download.content) == (404, True)


def test_retention_removes_data_in_background(api: Any, simulator: SimulatorClient, wait_until: Any) -> None:
    prediction = api.run_lab(output=IMAGE)
    assert not api.get_prediction(prediction["id"])["data_removed"]
    simulator.change_settings(retention=0.2)
    # The interval of the background task is 5 s at most.
    wait_until(lambda: api.get_prediction(prediction["id"])["data_removed"])
    assert requests.get(prediction["output"], timeout=5).status_code == 404


def test_uploaded_file_is_downloaded_by_signature_and_deleted(api: Any) -> None:
    parts = {
        "content": ("päper.txt", b"hello", "text/plain"),
        "metadata": (None, '{"n": 1}', "application/json"),
    }
    uploaded = api.call("POST", "/v1/files", files=parts).json()
    assert (uploaded["name"], uploaded["content_type"], uploaded["metadata"]) == (
        "päper.txt",
        "text/plain",
        {"n": 1},
    )
    assert uploaded["checksums"]["sha256"] == hashlib.sha256(b"hello").hexdigest()
    assert api.call("GET", "/v1/files").json()["results"] == [uploaded]
    assert requests.get(uploaded["urls"]["download"], timeout=5).content == b"hello"
    forged = uploaded["urls"]["download"].replace("expiry=1", "expiry=2")
    assert requests.get(forged, timeout=5).status_code == 404
    path = f"/v1/files/{uploaded['id']}"
    assert [api.call("DELETE", path).status_code for _ in range(2)] == [204, 404]
    assert api.call("GET", path).json() == {"detail": "File not found", "status": 404}


@pytest.mark.parametrize(
    "parts",
    [
        {"other": ("a", b"b")},
        {"content": ("a", b"b"), "metadata": (None, "{")},
        {"content": ("a", b"b"), "metadata": (None, "[]")},
    ],
)
def test_invalid_upload_is_422(api: Any, parts: Any) -> None:
    assert api.call("POST", "/v1/files", files=parts).status_code == 422


def test_upload_beyond_100_mb_is_413(api: Any) -> None:
    response = api.call(
        "POST", "/v1/files", files={"content": ("big", bytes(100 * 1024 * 1024 + 1))}, timeout=60
    )
    assert response.status_code == 413
    assert response.json()["detail"] == "Files must be less than 100MB in size"
