"""Every kind of fault of an HTTP call, as real clients see it over sockets."""

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

IMAGE = {"$file": "png", "width": 64, "height": 64}
BODY = {"version": "local/lab", "input": {"startup": 0, "latency": 0}}


def create(api: Any, **options: Any) -> Any:
    return api.call("POST", "/v1/predictions", json=BODY, **options)


def count_created(simulator: SimulatorClient) -> int:
    return int(simulator.get_stats()["predictions_created"])


@pytest.mark.parametrize(
    ("retry_after_in", "in_body", "in_header"),
    [(["body", "header"], 7, "7"), (["body"], 7, None), (["header"], None, "7"), ([], None, None)],
)
def test_429_has_retry_delay_in_requested_places(
    api: Any,
    simulator: SimulatorClient,
    retry_after_in: list[str],
    in_body: int | None,
    in_header: str | None,
) -> None:
    simulator.inject_fault("create", "status", status=429, retry_after=7, retry_after_in=retry_after_in)
    response = create(api)
    assert (response.status_code, response.json().get("retry_after")) == (429, in_body)
    assert response.headers.get("retry-after") == in_header
    assert response.json()["detail"] == "Request was throttled. Your rate limit resets in ~7s."
    assert count_created(simulator) == 0


@pytest.mark.parametrize(
    ("status", "title"),
    [
        (402, "Billing required"),
        (422, "Input validation failed"),
        (429, None),
        (500, "Internal Server Error"),
        (503, "Service Unavailable"),
    ],
)
def test_error_status_creates_nothing(
    api: Any, simulator: SimulatorClient, status: int, title: str | None
) -> None:
    simulator.inject_fault("create", "status", status=status, detail="because")
    response = create(api)
    assert (response.status_code, response.json()["detail"], response.json().get("title")) == (
        status,
        "because",
        title,
    )
    assert response.headers["content-type"] == "application/problem+json"
    assert (count_created(simulator), create(api).status_code) == (0, 201)


def test_503_has_retry_after_when_requested(api: Any, simulator: SimulatorClient) -> None:
    simulator.inject_fault("create", "status", status=503, retry_after=3)
    assert create(api).headers["retry-after"] == "3"


def test_error_after_acceptance_creates_prediction(api: Any, simulator: SimulatorClient) -> None:
    simulator.inject_fault("create", "status_after_accept", status=502)
    assert create(api).status_code == 502
    assert count_created(simulator) == 1


@pytest.mark.parametrize(("kind", "count"), [("reset_before_accept", 0), ("reset_after_accept", 1)])
def test_reset_is_a_tcp_reset(api: Any, simulator: SimulatorClient, kind: str, count: int) -> None:
    simulator.inject_fault("create", kind)
    address = urlsplit(simulator.url)
    body = json.dumps(BODY)
    with socket.create_connection((str(address.hostname), int(address.port or 0)), timeout=5) as connection:
        head = f"POST /v1/predictions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {simulator.token}\r\n"
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    assert count_created(simulator) == count


@pytest.mark.parametrize(("kind", "count"), [("reset_before_accept", 0), ("reset_after_accept", 1)])
def test_reset_reaches_every_kind_of_client(
    api: Any, simulator: SimulatorClient, client: Client, kind: str, count: int
) -> None:
    simulator.inject_fault("create", kind, times=3)
    with pytest.raises(requests.ConnectionError):
        create(api)
    with pytest.raises(httpx.ReadError):
        client.predictions.create(model="local/lab", input={})
    address = urlsplit(simulator.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=5)
    connection.request(
        "POST", "/v1/predictions", json.dumps(BODY), {"Authorization": f"Bearer {simulator.token}"}
    )
    with pytest.raises((ConnectionResetError, http.client.RemoteDisconnected)):
        connection.getresponse()
    connection.close()
    assert count_created(simulator) == count * 3


@pytest.mark.parametrize(("kind", "count"), [("timeout_before_accept", 0), ("timeout_after_accept", 1)])
def test_timeout_outlasts_client(api: Any, simulator: SimulatorClient, kind: str, count: int) -> None:
    simulator.inject_fault("create", kind, seconds=30)
    with pytest.raises(requests.ReadTimeout):
        create(api, timeout=0.3)
    assert count_created(simulator) == count


def test_timeout_ends_with_reset(api: Any, simulator: SimulatorClient) -> None:
    simulator.inject_fault("get", "timeout_before_accept", seconds=0.2)
    before = time.monotonic()
    with pytest.raises(requests.ConnectionError):
        api.get_prediction("x")
    assert time.monotonic() - before >= 0.2


def test_broken_json_is_unreadable_and_creates_prediction(api: Any, simulator: SimulatorClient) -> None:
    simulator.inject_fault("create", "broken_json")
    response = create(api)
    assert response.status_code == 201
    with pytest.raises(requests.JSONDecodeError):
        response.json()
    assert count_created(simulator) == 1


def test_slow_body_arrives_complete(api: Any, simulator: SimulatorClient) -> None:
    url = api.run_lab(output=IMAGE)["output"]
    complete = requests.get(url, timeout=5).content
    simulator.inject_fault("download", "slow_body", seconds=0.5)
    before = time.monotonic()
    assert requests.get(url, timeout=5).content == complete
    assert time.monotonic() - before >= 0.45


@pytest.mark.parametrize("status", [404, 500])
def test_download_fails_once_with_status(api: Any, simulator: SimulatorClient, status: int) -> None:
    url = api.run_lab(output=IMAGE)["output"]
    simulator.inject_fault("download", "status", status=status)
    assert [requests.get(url, timeout=5).status_code for _ in range(2)] == [status, 200]


def test_truncated_download_raises_and_next_one_succeeds(api: Any, simulator: SimulatorClient) -> None:
    url = api.run_lab(output=IMAGE)["output"]
    simulator.inject_fault("download", "truncated")
    with pytest.raises((requests.exceptions.ChunkedEncodingError, requests.ConnectionError)):
        _ = requests.get(url, timeout=5).content
    assert requests.get(url, timeout=5).status_code == 200


def test_redirected_download_has_location(api: Any, simulator: SimulatorClient) -> None:
    url = api.run_lab(output=IMAGE)["output"]
    simulator.inject_fault("download", "redirect", location="http://169.254.169.254/latest")
    response = requests.get(url, timeout=5, allow_redirects=False)
    assert (response.status_code, response.headers["location"]) == (302, "http://169.254.169.254/latest")


def test_download_has_wrong_content_type(api: Any, simulator: SimulatorClient) -> None:
    url = api.run_lab(output=IMAGE)["output"]
    simulator.inject_fault("download", "wrong_content_type", content_type="application/x-evil")
    response = requests.get(url, timeout=5)
    assert (response.headers["content-type"], response.content[:4]) == ("application/x-evil", b"\x89PNG")


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
def test_fault_breaks_only_next_call_of_endpoint(
    api: Any, simulator: SimulatorClient, endpoint: str, method: str, path: str
) -> None:
    simulator.inject_fault(endpoint, "status", status=599)
    assert api.call(method, path).status_code == 599
    assert api.call(method, path).status_code != 599
    assert simulator.call_control_api("GET", "faults")["rules"][0]["fired"] == 1


def test_rule_matches_text_in_body_after_spared_calls(api: Any, simulator: SimulatorClient) -> None:
    simulator.inject_fault("create", "status", status=500, contains="black cat", after=1)

    def create_with_prompt(prompt: str) -> int:
        body = {"version": "local/lab", "input": {"prompt": prompt}}
        return int(api.call("POST", "/v1/predictions", json=body).status_code)

    assert [create_with_prompt(text) for text in ("dog", "black cat", "black cat", "black cat")] == [
        201,
        201,
        500,
        201,
    ]
    assert api.call("GET", "/v1/predictions").json()["results"][0]["input"] == {"prompt": "black cat"}


def test_faults_spare_control_api_and_unauthenticated_calls(api: Any, simulator: SimulatorClient) -> None:
    simulator.inject_fault("any", "status", status=500)
    assert requests.get(f"{simulator.url}/v1/account", timeout=5).status_code == 401
    assert simulator.call_control_api("GET", "health") == {"status": "ok"}
