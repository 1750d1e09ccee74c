"""Output files as they are served, and their removal; uploaded files."""

import hashlib
from typing import Any

import pytest
import requests

from tools.simulator.client import SimulatorClient

PICTURE = {"$file": "png", "width": 64, "height": 64}


@pytest.fixture
def url(api: Any) -> str:
    output: str = api.finished(output=PICTURE)["output"]
    return output


def test_headers_and_head(url: str) -> None:
    got, head = requests.get(url, timeout=5), requests.head(url, timeout=5)
    assert got.headers["etag"] == f'"{hashlib.md5(got.content, usedforsecurity=False).hexdigest()}"'
    assert got.headers["cache-control"] == "public,max-age=3600"
    assert got.headers["content-type"] == "image/png"
    assert (head.content, head.headers["content-length"]) == (b"", str(len(got.content)))


def test_any_authorization_is_ignored(url: str) -> None:
    assert requests.get(url, headers={"Authorization": "Bearer nobody"}, timeout=5).status_code == 200


@pytest.mark.parametrize(
    ("asked", "part"),
    [("bytes=0-9", slice(0, 10)), ("bytes=100-", slice(100, None)), ("bytes=-5", slice(-5, None))],
)
def test_a_range_gives_that_part(url: str, asked: str, part: slice) -> None:
    whole = requests.get(url, timeout=5).content
    answer = requests.get(url, headers={"Range": asked}, timeout=5)
    assert (answer.status_code, answer.content) == (206, whole[part])
    assert answer.headers["content-range"].endswith(f"/{len(whole)}")


def test_a_range_beyond_the_end_is_416(url: str) -> None:
    answer = requests.get(url, headers={"Range": "bytes=99999999-"}, timeout=5)
    assert answer.status_code == 416


def test_a_false_content_type_is_served_when_asked_for(api: Any) -> None:
    output = api.finished(output={**PICTURE, "content_type": "text/html"})["output"]
    assert requests.get(output, timeout=5).headers["content-type"].startswith("text/html")


def test_sync_mode_may_answer_with_data_uris(api: Any, remote: SimulatorClient) -> None:
    remote.change_settings(sync_data_uris=True)
    prediction = api.finished(output=[PICTURE])
    assert prediction["output"][0].startswith("data:image/png;base64,")
    assert api.get(prediction["id"])["output"][0].startswith("http")


def test_expired_data_is_gone_but_the_record_stays(api: Any, remote: SimulatorClient) -> None:
    prediction = api.finished(output=PICTURE, logs="l", secret="s")
    remote.call_control_api("POST", f"predictions/{prediction['id']}/expire")
    shown = api.get(prediction["id"])
    assert (shown["status"], shown["data_removed"]) == ("succeeded", True)
    assert (shown["input"], shown["output"], shown["logs"]) == ({}, None, "")
    gone = requests.get(prediction["output"], timeout=5)
    assert (gone.status_code, b"NoSuchKey" in gone.content) == (404, True)


def test_retention_removes_data_by_itself(api: Any, remote: SimulatorClient, eventually: Any) -> None:
    prediction = api.finished(output=PICTURE)
    assert not api.get(prediction["id"])["data_removed"]
    remote.change_settings(retention=0.2)
    # The sweeper looks every 5 s at most.
    eventually(lambda: api.get(prediction["id"])["data_removed"])
    assert requests.get(prediction["output"], timeout=5).status_code == 404


def test_upload_download_and_delete(api: Any) -> None:
    parts = {
        "content": ("päper.txt", b"hello", "text/plain"),
        "metadata": (None, '{"n": 1}', "application/json"),
    }
    stored = api.call("POST", "/v1/files", files=parts).json()
    assert (stored["name"], stored["content_type"], stored["metadata"]) == (
        "päper.txt",
        "text/plain",
        {"n": 1},
    )
    assert stored["checksums"]["sha256"] == hashlib.sha256(b"hello").hexdigest()
    assert api.call("GET", "/v1/files").json()["results"] == [stored]
    assert requests.get(stored["urls"]["download"], timeout=5).content == b"hello"
    forged = stored["urls"]["download"].replace("expiry=1", "expiry=2")
    assert requests.get(forged, timeout=5).status_code == 404
    path = f"/v1/files/{stored['id']}"
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
def test_a_wrong_upload_is_422(api: Any, parts: Any) -> None:
    assert api.call("POST", "/v1/files", files=parts).status_code == 422


def test_an_upload_beyond_100_mb_is_413(api: Any) -> None:
    answer = api.call(
        "POST", "/v1/files", files={"content": ("big", bytes(100 * 1024 * 1024 + 1))}, timeout=60
    )
    assert answer.status_code == 413
    assert answer.json()["detail"] == "Files must be less than 100MB in size"
