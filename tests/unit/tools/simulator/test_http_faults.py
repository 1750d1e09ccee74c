"""Every fault that an HTTP call can suffer, seen by real clients over real sockets."""

import http.client
import json
import socket
import time
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import requests
from replicate.client import Client

from tools.simulator.client import SimulatorClient

PICTURE = {"$file": "png", "width": 64, "height": 64}
BODY = {"version": "local/lab", "input": {"startup": 0, "latency": 0}}


def create(api: Any, **options: Any) -> Any:
    return api.call("POST", "/v1/predictions", json=BODY, **options)


def created(remote: SimulatorClient) -> int:
    return int(remote.get_stats()["predictions_created"])


@pytest.mark.parametrize(
    ("places", "in_body", "in_header"),
    [(["body", "header"], 7, "7"), (["body"], 7, None), (["header"], None, "7"), ([], None, None)],
)
def test_429_says_when_to_retry_where_told(
    api: Any, remote: SimulatorClient, places: list[str], in_body: int | None, in_header: str | None
) -> None:
    remote.inject_fault("create", "status", status=429, retry_after=7, retry_after_in=places)
    answer = create(api)
    assert (answer.status_code, answer.json().get("retry_after")) == (429, in_body)
    assert answer.headers.get("retry-after") == in_header
    assert answer.json()["detail"] == "Request was throttled. Your rate limit resets in ~7s."
    assert created(remote) == 0


@pytest.mark.parametrize(
    ("status", "title"),
    [
        (402, "Billing required"),
        (422, "Invalid version or not permitted"),
        (429, None),
        (500, "Internal Server Error"),
        (503, "Service Unavailable"),
    ],
)
def test_an_error_status_creates_nothing(
    api: Any, remote: SimulatorClient, status: int, title: str | None
) -> None:
    remote.inject_fault("create", "status", status=status, detail="because")
    answer = create(api)
    assert (answer.status_code, answer.json()["detail"], answer.json().get("title")) == (
        status,
        "because",
        title,
    )
    assert answer.headers["content-type"] == "application/problem+json"
    assert (created(remote), create(api).status_code) == (0, 201)


def test_503_may_say_when_to_retry(api: Any, remote: SimulatorClient) -> None:
    remote.inject_fault("create", "status", status=503, retry_after=3)
    assert create(api).headers["retry-after"] == "3"


def test_an_error_after_acceptance_has_created(api: Any, remote: SimulatorClient) -> None:
    remote.inject_fault("create", "status_after_accept", status=502)
    assert create(api).status_code == 502
    assert created(remote) == 1


@pytest.mark.parametrize(("kind", "count"), [("reset_before_accept", 0), ("reset_after_accept", 1)])
def test_a_reset_is_a_real_tcp_reset(api: Any, remote: SimulatorClient, kind: str, count: int) -> None:
    remote.inject_fault("create", kind)
    address = urlsplit(remote.url)
    body = json.dumps(BODY)
    with socket.create_connection((str(address.hostname), int(address.port or 0)), timeout=5) as connection:
        head = f"POST /v1/predictions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {remote.token}\r\n"
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    assert created(remote) == count


@pytest.mark.parametrize(("kind", "count"), [("reset_before_accept", 0), ("reset_after_accept", 1)])
def test_clients_see_the_reset(
    api: Any, remote: SimulatorClient, client: Client, kind: str, count: int
) -> None:
    remote.inject_fault("create", kind, times=3)
    with pytest.raises(requests.ConnectionError):
        create(api)
    with pytest.raises(httpx.ReadError):
        client.predictions.create(model="local/lab", input={})
    address = urlsplit(remote.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=5)
    connection.request(
        "POST", "/v1/predictions", json.dumps(BODY), {"Authorization": f"Bearer {remote.token}"}
    )
    with pytest.raises((ConnectionResetError, http.client.RemoteDisconnected)):
        connection.getresponse()
    connection.close()
    assert created(remote) == count * 3


@pytest.mark.parametrize(("kind", "count"), [("timeout_before", 0), ("timeout_after", 1)])
def test_a_hang_outlasts_the_client(api: Any, remote: SimulatorClient, kind: str, count: int) -> None:
    remote.inject_fault("create", kind, seconds=30)
    with pytest.raises(requests.ReadTimeout):
        create(api, timeout=0.3)
    assert created(remote) == count


def test_a_hang_ends_in_a_reset(api: Any, remote: SimulatorClient) -> None:
    remote.inject_fault("get", "timeout_before", seconds=0.2)
    before = time.monotonic()
    with pytest.raises(requests.ConnectionError):
        api.get("x")
    assert time.monotonic() - before >= 0.2


def test_broken_json_is_no_json_but_has_created(api: Any, remote: SimulatorClient) -> None:
    remote.inject_fault("create", "broken_json")
    answer = create(api)
    assert answer.status_code == 201
    with pytest.raises(requests.JSONDecodeError):
        answer.json()
    assert created(remote) == 1


def test_a_slow_body_arrives_whole(api: Any, remote: SimulatorClient) -> None:
    url = api.finished(output=PICTURE)["output"]
    whole = requests.get(url, timeout=5).content
    remote.inject_fault("download", "slow_body", seconds=0.5)
    before = time.monotonic()
    assert requests.get(url, timeout=5).content == whole
    assert time.monotonic() - before >= 0.45


@pytest.mark.parametrize("status", [404, 500])
def test_a_download_that_fails(api: Any, remote: SimulatorClient, status: int) -> None:
    url = api.finished(output=PICTURE)["output"]
    remote.inject_fault("download", "status", status=status)
    assert [requests.get(url, timeout=5).status_code for _ in range(2)] == [status, 200]


def test_a_truncated_download_breaks_off(api: Any, remote: SimulatorClient) -> None:
    url = api.finished(output=PICTURE)["output"]
    remote.inject_fault("download", "truncated")
    with pytest.raises((requests.exceptions.ChunkedEncodingError, requests.ConnectionError)):
        _ = requests.get(url, timeout=5).content
    assert requests.get(url, timeout=5).status_code == 200


def test_a_redirected_download(api: Any, remote: SimulatorClient) -> None:
    url = api.finished(output=PICTURE)["output"]
    remote.inject_fault("download", "redirect", location="http://169.254.169.254/latest")
    answer = requests.get(url, timeout=5, allow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (302, "http://169.254.169.254/latest")


def test_a_download_of_the_wrong_content_type(api: Any, remote: SimulatorClient) -> None:
    url = api.finished(output=PICTURE)["output"]
    remote.inject_fault("download", "wrong_content_type", content_type="application/x-evil")
    answer = requests.get(url, timeout=5)
    assert (answer.headers["content-type"], answer.content[:4]) == ("application/x-evil", b"\x89PNG")


@pytest.mark.parametrize(
    ("endpoint", "method", "path"),
    [
        ("create", "POST", "/v1/models/local/lab/predictions"),
        ("create", "POST", "/v1/deployments/local/lab-deployment/predictions"),
        ("list", "GET", "/v1/predictions"),
        ("get", "GET", "/v1/predictions/x"),
        ("cancel", "POST", "/v1/predictions/x/cancel"),
        ("file", "GET", "/v1/files"),
        ("model", "GET", "/v1/models"),
        ("other", "GET", "/v1/account"),
        ("any", "GET", "/v1/hardware"),
        ("download", "GET", "/delivery/x/0/y"),
    ],
)
def test_each_endpoint_can_be_broken(
    api: Any, remote: SimulatorClient, endpoint: str, method: str, path: str
) -> None:
    remote.inject_fault(endpoint, "status", status=599)
    assert api.call(method, path).status_code == 599
    assert api.call(method, path).status_code != 599
    assert remote.call_control_api("GET", "faults")["rules"][0]["fired"] == 1


def test_a_rule_can_look_into_the_body_and_spare_the_first(api: Any, remote: SimulatorClient) -> None:
    remote.inject_fault("create", "status", status=500, contains="black cat", after=1)

    def asked(prompt: str) -> int:
        body = {"version": "local/lab", "input": {"prompt": prompt}}
        return int(api.call("POST", "/v1/predictions", json=body).status_code)

    assert [asked(text) for text in ("dog", "black cat", "black cat", "black cat")] == [201, 201, 500, 201]
    assert api.call("GET", "/v1/predictions").json()["results"][0]["input"] == {"prompt": "black cat"}


def test_faults_leave_the_control_api_alone_and_need_the_token(api: Any, remote: SimulatorClient) -> None:
    remote.inject_fault("any", "status", status=500)
    assert requests.get(f"{remote.url}/v1/account", timeout=5).status_code == 401
    assert remote.call_control_api("GET", "health") == {"status": "ok"}
