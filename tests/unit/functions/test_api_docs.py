"""The public OpenAPI document and the page that shows it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from functions.console import app
from tests.support.console import console_account
from tests.support.handlers import CONTEXT
from tools.template.stack import load_stack

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[3]
SOURCE = ROOT / "docs/openapi.yaml"


@pytest.fixture(autouse=True)
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with console_account(monkeypatch):
        yield


def get(resource: str, **headers: str) -> Any:
    event = {
        "httpMethod": "GET",
        "resource": resource,
        "path": resource,
        "headers": {"Host": "proxy.test", "X-Forwarded-Proto": "https", **headers},
        "requestContext": {"domainName": "proxy.test", "path": f"/prod{resource}"},
    }
    return app.lambda_handler(event, CONTEXT)


def test_document_is_that_of_the_documentation() -> None:
    response = get("/openapi.json")

    assert response["statusCode"] == 200
    assert json.loads(response["body"]) == yaml.safe_load(SOURCE.read_text(encoding="utf-8"))
    assert response["headers"]["content-type"] == "application/json"


def test_artifact_has_no_copy_of_the_document_that_can_go_stale() -> None:
    # `sam build` copies what the link leads to.
    link = ROOT / "functions/console/openapi.yaml"
    assert link.is_symlink()
    assert link.resolve() == SOURCE


def test_known_document_is_not_sent_again() -> None:
    first = get("/openapi.json")["headers"]
    assert first["cache-control"] == "public, max-age=300"

    for known in (first["etag"], f'"other", {first["etag"]}', "*"):
        repeated = get("/openapi.json", **{"If-None-Match": known})
        assert (repeated["statusCode"], repeated["body"]) == (304, "")
        assert repeated["headers"]["etag"] == first["etag"]
    assert get("/openapi.json", **{"If-None-Match": '"other"'})["statusCode"] == 200


def test_page_loads_only_its_own_files() -> None:
    response = get("/docs")

    assert response["statusCode"] == 200
    policy = response["headers"]["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    urls = re.findall(r'(?:src|href|data-url)="([^"]+)"', response["body"])
    assert "/prod/openapi.json" in urls
    assert all(url.startswith("/prod/") for url in urls)
    for url in urls:
        if "/static/" in url:
            assert get_static(url)["statusCode"] == 200
    assert not re.search(r"<script(?! src)|<style| style=| on\w+=", response["body"])


def test_api_gateway_compresses_the_document() -> None:
    api = load_stack().resources["Api"]
    size = len(get("/openapi.json")["body"].encode())
    assert api.properties["MinimumCompressionSize"] < size < 1_000_000


def get_static(url: str) -> Any:
    name = url.rpartition("/")[2]
    event = {
        "httpMethod": "GET",
        "resource": "/console/{proxy+}",
        "path": f"/console/static/{name}",
        "pathParameters": {"proxy": f"static/{name}"},
        "headers": {"Host": "proxy.test"},
        "requestContext": {"domainName": "proxy.test", "path": f"/prod/console/static/{name}"},
    }
    return app.lambda_handler(event, CONTEXT)
