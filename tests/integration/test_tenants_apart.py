"""Every route that takes an id answers another tenant's as one that never was."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests
import yaml

from tests.integration.api import ApiClient
from tests.integration.receiver import run_receiver
from tools.local.keys import KeyIssuer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.local.stack import Stack

UNKNOWN = "0" * 26


@pytest.fixture(scope="module")
def theirs(stack: Stack) -> Iterator[dict[str, str]]:
    """The id of one of everything, of a tenant that nobody here is."""
    tenant = f"tenant-{secrets.token_hex(4)}"
    key = KeyIssuer(stack.endpoint_url, stack.outputs).create_key(tenant, name="integration test")
    owner = ApiClient(stack.api_url, key, tenant)
    with run_receiver() as receiver:
        job = owner.run("local/lab", {"output": "theirs"})
        asked = {"predictions": [{"version": "local/lab", "input": {"output": "theirs"}}]}
        batch = owner.call("POST", "/v1/batches", asked).json()
        form: dict[str, Any] = {"content": ("a.txt", b"theirs", "text/plain")}
        bearer = {"authorization": f"Bearer {key}"}
        file = requests.post(f"{stack.api_url}/v1/files", files=form, headers=bearer, timeout=60).json()
        endpoint = owner.call("POST", "/v1/webhooks/endpoints", {"url": receiver.url}).json()
        delivery = owner.call("POST", f"/v1/webhooks/endpoints/{endpoint['id']}/test", {}).json()
        yield {
            "prediction": job["id"],
            "batch": batch["id"],
            "file": file["id"],
            "endpoint_id": endpoint["id"],
            "delivery_id": delivery["id"],
        }


FOREIGN: tuple[tuple[str, str, Any], ...] = (
    ("GET", "/v1/predictions/{prediction}", None),
    ("GET", "/?predictionId={prediction}", None),
    ("POST", "/v1/predictions/{prediction}/cancel", {}),
    ("GET", "/v1/batches/{batch}", None),
    ("POST", "/v1/batches/{batch}/cancel", {}),
    ("GET", "/v1/files/{file}", None),
    ("DELETE", "/v1/files/{file}", None),
    ("GET", "/v1/files/{file}/download?owner=a&expiry=9999999999&signature=00", None),
    ("GET", "/v1/webhooks/deliveries?prediction={prediction}", None),
    ("GET", "/v1/webhooks/attempts?prediction={prediction}", None),
    ("GET", "/v1/webhooks/endpoints/{endpoint_id}", None),
    ("PATCH", "/v1/webhooks/endpoints/{endpoint_id}", {"description": "mine now"}),
    ("DELETE", "/v1/webhooks/endpoints/{endpoint_id}", None),
    ("GET", "/v1/webhooks/endpoints/{endpoint_id}/secret", None),
    ("POST", "/v1/webhooks/endpoints/{endpoint_id}/secret/rotate", {}),
    ("POST", "/v1/webhooks/endpoints/{endpoint_id}/enable", {}),
    ("POST", "/v1/webhooks/endpoints/{endpoint_id}/test", {}),
    ("GET", "/v1/webhooks/endpoints/{endpoint_id}/deliveries", None),
    ("GET", "/v1/webhooks/endpoints/{endpoint_id}/attempts", None),
    ("POST", "/v1/webhooks/endpoints/{endpoint_id}/redeliver", {"since": "2026-01-01T00:00:00Z"}),
    ("GET", "/v1/webhooks/deliveries/{delivery_id}", None),
    ("GET", "/v1/webhooks/deliveries/{delivery_id}/attempts", None),
    ("POST", "/v1/webhooks/deliveries/{delivery_id}/redeliver", {}),
)
NEVER = {
    "prediction": UNKNOWN,
    "batch": UNKNOWN,
    "file": UNKNOWN,
    "endpoint_id": f"ep_{UNKNOWN}",
    "delivery_id": f"{UNKNOWN}.1.ep_{UNKNOWN}",
}
LISTS = {"/v1/webhooks/deliveries?prediction={prediction}", "/v1/webhooks/attempts?prediction={prediction}"}


@pytest.mark.parametrize(("method", "path", "body"), FOREIGN)
def test_anothers_id_is_answered_as_one_that_never_was(
    api: ApiClient, theirs: dict[str, str], method: str, path: str, body: Any
) -> None:
    foreign = api.call(method, path.format(**theirs), body)
    unknown = api.call(method, path.format(**NEVER), body)

    assert foreign.status_code == unknown.status_code == (200 if path in LISTS else 404)
    assert foreign.json() == unknown.json()
    assert not any(value in foreign.text for value in theirs.values())


def test_no_route_with_an_id_is_left_out() -> None:
    document = yaml.safe_load((Path(__file__).parents[2] / "docs/openapi.yaml").read_text(encoding="utf-8"))
    named = {"{prediction}": "{id}", "{batch}": "{id}", "{file}": "{id}"}
    asked = set()
    for method, path, _ in FOREIGN:
        for ours, theirs_ in named.items():
            path = path.replace(ours, theirs_)  # noqa: PLW2901 - the document's name for it
        asked.add((method.lower(), path.partition("?")[0]))
    with_id = {
        (method, path)
        for path, item in document["paths"].items()
        for method in item
        if method != "parameters" and "id}" in path and not path.startswith("/admin/")
    }
    assert with_id - asked == set()
