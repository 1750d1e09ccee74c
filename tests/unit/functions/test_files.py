"""The files function's sample events through its handler, with records and bytes on moto."""

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

# Powertools warns about every invocation that counted nothing; most do.
pytestmark = pytest.mark.filterwarnings("ignore:No application metrics to publish")

CONTENT = b"\x89PNG\r\n\x1a\n not really"


@pytest.fixture(autouse=True)
def everything(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with aws_account(monkeypatch):
        yield


def call(event: dict[str, Any]) -> tuple[int, Any, dict[str, str]]:
    reply = app.lambda_handler(event, CONTEXT)
    return reply["statusCode"], json.loads(reply["body"]) if reply["body"] else None, reply["headers"]


def test_bytes_come_back_from_the_address_that_replicate_is_given() -> None:
    status, made, _ = call(load_event("files/create"))
    assert (status, made["name"], made["metadata"]) == (201, "cat.png", {"album": 7})
    address = urlsplit(made["urls"]["get"])
    event = load_event("files/download_forged")
    event |= {"pathParameters": {"id": made["id"]}, "queryStringParameters": dict(parse_qsl(address.query))}
    status, _, headers = call(event)
    assert status == 302
    assert headers["location"].startswith("https://s3.eu-central-1.amazonaws.com/images/files/acme/")
    assert requests.get(headers["location"], timeout=5).content == CONTENT


def test_a_listed_file_is_the_one_that_was_made() -> None:
    _, made, _ = call(load_event("files/create"))
    assert call(load_event("files/list"))[1]["results"] == [made]


def test_a_large_file_goes_straight_to_the_bucket() -> None:
    status, made, _ = call(load_event("files/upload") | {"body": '{"filename": "big.zip", "size": 5000}'})
    assert (status, call(load_event("files/upload"))[0]) == (201, 201)
    form = made["upload"]
    assert requests.post(form["url"], data=form["fields"], files={"file": b"x" * 5000}, timeout=5).ok
    assert call(load_event("files/list"))[1]["results"][0]["size"] == 5000


@pytest.mark.parametrize(
    ("name", "status"), [("create_broken", 400), ("get_unknown", 404), ("download_forged", 404)]
)
def test_what_is_refused(name: str, status: int) -> None:
    answered, problem, headers = call(load_event(f"files/{name}"))
    assert answered == problem["status"] == status
    assert headers["content-type"] == "application/problem+json"
