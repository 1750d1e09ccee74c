"""The files function's sample events through its handler, with records and content on moto."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests

from functions.files import app
from tests.support.handlers import CONTEXT, aws_account, load_event

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTENT = b"\x89PNG\r\n\x1a\n not really"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with aws_account(monkeypatch):
        yield


def call(event: dict[str, Any]) -> tuple[int, Any, dict[str, str]]:
    response = app.lambda_handler(event, CONTEXT)
    body = json.loads(response["body"]) if response["body"] else None
    return response["statusCode"], body, response["headers"]


def test_created_file_can_be_downloaded_from_its_signed_url() -> None:
    status, created, _ = call(load_event("files/create"))
    assert (status, created["name"], created["metadata"]) == (201, "cat.png", {"album": 7})
    url = urlsplit(created["urls"]["get"])
    event = load_event("files/download_forged")
    event |= {"pathParameters": {"id": created["id"]}, "queryStringParameters": dict(parse_qsl(url.query))}
    status, _, headers = call(event)
    assert status == 302
    assert headers["location"].startswith("https://images.s3.us-east-1.amazonaws.com/files/acme/")
    assert requests.get(headers["location"], timeout=5).content == CONTENT


def test_list_returns_created_file() -> None:
    _, created, _ = call(load_event("files/create"))
    assert call(load_event("files/list"))[1]["results"] == [created]


def test_large_file_is_uploaded_with_form() -> None:
    status, created, _ = call(load_event("files/upload") | {"body": '{"filename": "big.zip", "size": 5000}'})
    assert (status, call(load_event("files/upload"))[0]) == (201, 201)
    form = created["upload"]
    assert requests.post(form["url"], data=form["fields"], files={"file": b"x" * 5000}, timeout=5).ok
    assert call(load_event("files/list"))[1]["results"][0]["size"] == 5000


@pytest.mark.parametrize(
    ("name", "status"), [("create_truncated", 400), ("get_unknown", 404), ("download_forged", 404)]
)
def test_invalid_request_gets_problem_response(name: str, status: int) -> None:
    actual_status, problem, headers = call(load_event(f"files/{name}"))
    assert actual_status == problem["status"] == status
    assert headers["content-type"] == "application/problem+json"
