"""Requests of every operation that is supported or passed through, through Prism to the local stack.

Prism compares requests and responses with `prism/replicate-openapi.yaml` and reports what differs in the
header `sl-violations` (Prism's documentation, "Validation Proxy").
"""

import json
import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from shutil import which
from typing import Any

import pytest
import requests
import yaml

from tests.integration.api_client import ApiClient
from tests.integration.models import get_version
from tests.unit.test_replicate_operations import list_operations, without_names
from tools.local.keys import KeyIssuer
from tools.local.loopback import LOOPBACK
from tools.local.servers import choose_port, is_port_free
from tools.local.stack import Stack
from tools.local.waiting import wait_for

FOLDER = Path(__file__).parent / "prism"
DOCUMENT = FOLDER / "replicate-openapi.yaml"
HELLO = "replicate/hello-world"
WAIT = {"prefer": "wait=20"}
_TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True)
class Case:
    """A request; names in braces in `path` and `body` are those of `resources`."""

    operation: str
    path: str
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    files: Any = None


CASES = (
    Case("POST /predictions", "", {"version": "{version}", "input": {"text": "Alice"}}, WAIT),
    Case("POST /predictions", "", {"version": f"{HELLO}:{{version}}", "input": {"text": "Bob"}}, WAIT),
    Case("POST /models/{}/{}/predictions", "/models/local/lab/predictions", {"input": {"output": 1}}, WAIT),
    Case(
        "POST /models/{}/{}/predictions",
        "/models/local/lab/predictions",
        {"input": {"status": "failed", "error": "out of paint"}, "webhook_events_filter": ["completed"]},
        WAIT | {"cancel-after": "1m30s"},
    ),
    Case(
        "POST /models/{}/{}/predictions",
        "/models/black-forest-labs/flux-schnell/predictions",
        {"input": {"prompt": "a lighthouse", "megapixels": "0.25"}, "stream": False},
        WAIT,
    ),
    Case(
        "POST /deployments/{}/{}/predictions",
        "/deployments/local/lab-deployment/predictions",
        {"input": {"output": {"a": [1, None]}}},
        WAIT,
    ),
    Case("GET /predictions", ""),
    Case("GET /predictions", "/predictions?created_after=2026-01-01T00:00:00Z"),
    Case("GET /predictions/{}", "/predictions/{finished}"),
    Case("POST /predictions/{}/cancel", "/predictions/{finished}/cancel"),
    Case("POST /files", "", files={"content": ("a.bin", b"content", "application/octet-stream")}),
    Case("GET /files", ""),
    Case("GET /files/{}", "/files/{file}"),
    Case("GET /files/{}/download", "{download}"),
    Case("DELETE /files/{}", "/files/{file_to_delete}"),
    Case("GET /account", ""),
    Case("GET /hardware", ""),
    Case("GET /collections", ""),
    Case("GET /collections/{}", "/collections/text-to-image"),
    Case("GET /deployments", ""),
    Case("GET /deployments/{}/{}", "/deployments/local/lab-deployment"),
    Case("GET /models", "/models?sort_by=model_created_at&sort_direction=asc"),
    Case("GET /models/{}/{}", "/models/stability-ai/sdxl"),
    Case("GET /models/{}/{}/examples", f"/models/{HELLO}/examples"),
    Case("GET /models/{}/{}/readme", "/models/stability-ai/sdxl/readme"),
    Case("GET /models/{}/{}/versions", "/models/stability-ai/sdxl/versions"),
    Case("GET /models/{}/{}/versions/{}", f"/models/{HELLO}/versions/{{version}}"),
    Case("GET /search", "/search?query=image&limit=3"),
    Case("GET /webhooks/default/secret", ""),
)


@pytest.fixture(scope="module")
def prism_url(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Prism in front of the stack."""
    node = which("node")
    assert node is not None, "node is not installed, which Prism needs"
    port = choose_port()
    log = tmp_path_factory.mktemp("prism") / "prism.log"
    program = FOLDER / "node_modules/@stoplight/prism-cli/dist/index.js"
    addresses = [f"{stack.api_url}/v1", "--host", LOOPBACK, "--port", str(port)]
    command = [node, str(program), "proxy", str(DOCUMENT), *addresses]
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            wait_for(
                lambda: None if is_port_free(port) else True,
                timeout_seconds=_TIMEOUT_SECONDS,
                description=f"Prism, see {log}",
                is_alive=lambda: process.poll() is None,
            )
            yield f"http://{LOOPBACK}:{port}"
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def tenant(stack: Stack) -> ApiClient:
    """A client of a tenant all of whose predictions are finished."""
    name = f"tenant-{secrets.token_hex(4)}"
    key = KeyIssuer(stack.endpoint_url, stack.outputs).create_key(name, name="test with Prism")
    return ApiClient(stack.api_url, key, name)


@pytest.fixture(scope="module")
def resources(tenant: ApiClient) -> dict[str, str]:
    """What the paths of the cases name."""
    finished = tenant.run("local/lab", {"output": "done"})
    files = [_upload(tenant) for _ in range(2)]
    return {
        "version": get_version(HELLO),
        "finished": finished["id"],
        "file": files[0]["id"],
        "file_to_delete": files[1]["id"],
        "download": files[0]["urls"]["get"].removeprefix(f"{tenant.url}/v1"),
    }


def _upload(tenant: ApiClient) -> Any:
    files: Any = {"content": ("a.bin", b"content", "application/octet-stream")}
    headers = {"authorization": f"Bearer {tenant.key}"}
    return requests.post(f"{tenant.url}/v1/files", files=files, headers=headers, timeout=60).json()


def _fill_in(value: Any, resources: dict[str, str]) -> Any:
    """Replace the names in braces in the texts of a JSON value."""
    if isinstance(value, dict):
        return {key: _fill_in(part, resources) for key, part in value.items()}
    if isinstance(value, str):
        for name, resource in resources.items():
            value = value.replace(f"{{{name}}}", resource)
    return value


def _send(prism_url: str, key: str, method: str, path: str, **options: Any) -> requests.Response:
    headers = {"authorization": f"Bearer {key}", **options.pop("headers", {})}
    return requests.request(
        method, f"{prism_url}{path}", headers=headers, timeout=_TIMEOUT_SECONDS, **options
    )


def _read_violations(response: requests.Response) -> list[dict[str, Any]]:
    violations: list[dict[str, Any]] = json.loads(response.headers.get("sl-violations", "[]"))
    return violations


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.operation} {case.path}".strip())
def test_request_and_response_conform_to_replicates_document(
    prism_url: str, tenant: ApiClient, resources: dict[str, str], case: Case
) -> None:
    method, _, operation_path = case.operation.partition(" ")
    response = _send(
        prism_url,
        tenant.key,
        method,
        _fill_in(case.path or operation_path, resources),
        json=_fill_in(case.body, resources),
        files=case.files,
        headers=case.headers,
    )

    assert response.ok, response.text
    assert _read_violations(response) == []


def test_cases_include_every_operation_that_is_available() -> None:
    available = list_operations("supported") | list_operations("passed through")

    assert {tuple(case.operation.replace(" ", " /v1").split(" ")) for case in CASES} == available


def test_running_prediction_lacks_nothing_but_its_output(prism_url: str, api: ApiClient) -> None:
    """Replicate's own responses lack it, too: docs/decisions/0028-output-is-missing-until-final.md."""
    body = {"input": {"hold": True}}
    created = _send(prism_url, api.key, "POST", "/models/local/lab/predictions", json=body)
    path = f"/predictions/{created.json()['id']}"
    read = _send(prism_url, api.key, "GET", path)
    canceled = _send(prism_url, api.key, "POST", f"{path}/cancel")

    for response in (created, read):
        messages = [violation["message"] for violation in _read_violations(response)]
        assert messages == ["Response body must have required property 'output'"]
    assert canceled.json()["status"] == "canceled"
    assert _read_violations(canceled) == []


def test_violation_is_reported(prism_url: str, tenant: ApiClient) -> None:
    """Without this, a Prism that validates nothing would pass all other tests."""
    body = {"input": {}, "unknown": 1}
    request = _send(prism_url, tenant.key, "POST", "/models/local/lab/predictions", json=body)
    response = _send(prism_url, tenant.key, "GET", f"/predictions/{'0' * 26}")

    assert request.status_code == 422
    assert _read_violations(request) != []
    assert response.status_code == 404
    assert _read_violations(response) != []


def test_query_method_reaches_no_operation(prism_url: str, tenant: ApiClient) -> None:
    """Prism validates no QUERY, whose operation is refused: it forwards the request or answers 405."""
    response = _send(prism_url, tenant.key, "QUERY", "/models", data="image")

    assert response.status_code in {404, 405}


def test_reduced_document_has_the_available_operations() -> None:
    document = yaml.safe_load(DOCUMENT.read_text(encoding="utf-8"))
    operations = {
        without_names(method, f"/v1{path}") for path, item in document["paths"].items() for method in item
    }

    assert operations == list_operations("supported") | list_operations("passed through")
