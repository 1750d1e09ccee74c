"""Every route with an ID answers IDs of another tenant like unknown IDs."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests
import yaml

from replicate_proxy.api.pagination import encode_cursor
from tests.integration.api_client import ApiClient
from tests.integration.receiver import run_receiver
from tools.local.keys import KeyIssuer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.local.stack import Stack

UNKNOWN_ID = "0" * 26
UNKNOWN_IDS = {
    "prediction": UNKNOWN_ID,
    "batch": UNKNOWN_ID,
    "file": UNKNOWN_ID,
    "upload": UNKNOWN_ID,
    "endpoint_id": f"ep_{UNKNOWN_ID}",
    "delivery_id": f"{UNKNOWN_ID}.1.ep_{UNKNOWN_ID}",
}
ROUTES: tuple[tuple[str, str, Any], ...] = (
    ("GET", "/v1/predictions/{prediction}", None),
    ("GET", "/?predictionId={prediction}", None),
    ("POST", "/v1/predictions/{prediction}/cancel", {}),
    ("DELETE", "/v1/predictions/{prediction}", None),
    ("GET", "/v1/batches/{batch}", None),
    ("GET", "/v1/batches/{batch}/results", None),
    ("POST", "/v1/batches/{batch}/cancel", {}),
    ("GET", "/v1/files/{file}", None),
    ("DELETE", "/v1/files/{file}", None),
    ("GET", "/v1/files/{file}/download?owner=a&expiry=9999999999&signature=00", None),
    ("HEAD", "/v1/files/{file}/download?owner=a&expiry=9999999999&signature=00", None),
    ("GET", "/v1/uploads/{upload}", None),
    ("POST", "/v1/uploads/{upload}/complete", {}),
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
LIST_PATHS = {
    "/v1/webhooks/deliveries?prediction={prediction}",
    "/v1/webhooks/attempts?prediction={prediction}",
}


@pytest.fixture(scope="module")
def foreign_ids(stack: Stack) -> Iterator[dict[str, str]]:
    """IDs of resources of another tenant."""
    tenant = f"tenant-{secrets.token_hex(4)}"
    key = KeyIssuer(stack.endpoint_url, stack.outputs).create_key(tenant, name="integration test")
    owner = ApiClient(stack.api_url, key, tenant)
    with run_receiver() as receiver:
        job = owner.run("local/lab", {"output": "theirs"})
        entries = [{"version": "local/lab", "input": {"output": "theirs"}}]
        batch = owner.call("POST", "/v1/batches", {"predictions": entries}).json()
        form: dict[str, Any] = {"content": ("a.txt", b"theirs", "text/plain")}
        headers = {"authorization": f"Bearer {key}"}
        file = requests.post(f"{stack.api_url}/v1/files", files=form, headers=headers, timeout=60).json()
        upload = owner.call("POST", "/v1/uploads", {"filename": "b.bin", "size": 6_000_000}).json()
        endpoint = owner.call("POST", "/v1/webhooks/endpoints", {"url": receiver.url}).json()
        delivery = owner.call("POST", f"/v1/webhooks/endpoints/{endpoint['id']}/test", {}).json()
        yield {
            "prediction": job["id"],
            "batch": batch["id"],
            "file": file["id"],
            "upload": upload["id"],
            "endpoint_id": endpoint["id"],
            "delivery_id": delivery["id"],
        }


@pytest.mark.parametrize(("method", "path", "body"), ROUTES)
def test_id_of_another_tenant_is_answered_like_an_unknown_id(
    api: ApiClient, foreign_ids: dict[str, str], method: str, path: str, body: Any
) -> None:
    foreign = api.call(method, path.format(**foreign_ids), body)
    unknown = api.call(method, path.format(**UNKNOWN_IDS), body)

    assert foreign.status_code == unknown.status_code == (200 if path in LIST_PATHS else 404)
    assert foreign.content == unknown.content
    assert not any(value in foreign.text for value in foreign_ids.values())


def test_routes_include_every_documented_route_with_an_id() -> None:
    document = yaml.safe_load((Path(__file__).parents[2] / "docs/openapi.yaml").read_text(encoding="utf-8"))
    tested = set()
    for method, path, _ in ROUTES:
        template = path.partition("?")[0]
        for name in ("{prediction}", "{batch}", "{file}", "{upload}"):
            template = template.replace(name, "{id}")
        tested.add((method.lower(), template))
    documented = {
        (method, path)
        for path, item in document["paths"].items()
        for method in item
        if method != "parameters" and "id}" in path and not path.startswith("/admin/")
    }
    assert documented - tested == set()


def test_lists_show_nothing_of_another_tenant_whatever_the_filter_or_cursor(
    api: ApiClient, foreign_ids: dict[str, str]
) -> None:
    batch, prediction = foreign_ids["batch"], foreign_ids["prediction"]
    own = api.create("local/lab", {"output": "mine"}, headers={"x-metadata": "order=42"})["id"]
    cursors = [encode_cursor(position) for position in ((prediction,), (prediction, "newer"), (batch,))]
    queries = (
        *("", f"batch={batch}", "metadata.order=42", "model=local/lab", "status=succeeded,starting"),
        *(f"cursor={cursor}" for cursor in cursors),
    )
    for path in ("/v1/predictions", "/v1/batches", "/v1/files"):
        for query in queries:
            response = api.call("GET", f"{path}?{query}")
            assert response.status_code in {200, 400}, query
            assert not any(value in response.text.replace(query, "") for value in foreign_ids.values())
    forged = encode_cursor((f"JOB#{prediction}", prediction))
    assert api.call("GET", f"/v1/predictions?cursor={forged}").status_code == 400
    found = api.call("GET", "/v1/predictions?metadata.order=42&model=local/lab").json()
    assert ([each["id"] for each in found["results"]], found["next"]) == ([own], None)
