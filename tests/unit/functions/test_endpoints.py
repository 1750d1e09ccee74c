"""The endpoints function on moto."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from functions.endpoints import app
from tests.support.delivery_stack import DeliveryStack, run_delivery_stack
from tests.support.handlers import CONTEXT, load_event

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch) -> Iterator[DeliveryStack]:
    with run_delivery_stack(monkeypatch) as stack:
        yield stack


def call(event_name: str) -> tuple[int, Any]:
    """Return status and body of the response to a sample event."""
    response = app.lambda_handler(load_event(f"endpoints/{event_name}"), CONTEXT)
    return response["statusCode"], json.loads(response["body"])


def test_default_secret_stays_the_same(stack: DeliveryStack) -> None:
    status, first = call("default_secret")
    assert (status, set(first)) == (200, {"key"})
    assert call("default_secret") == (200, first)


def test_endpoint_is_created(stack: DeliveryStack) -> None:
    status, endpoint = call("create")
    assert status == 201
    assert (endpoint["url"], endpoint["events"]) == ("https://app.example/webhooks", ["completed"])


def test_internal_url_is_422(stack: DeliveryStack) -> None:
    status, problem = call("create_unsafe_url")
    assert (status, problem["invalid_fields"][0]["field"]) == (422, "url")


def test_lists_are_empty_when_nothing_was_delivered(stack: DeliveryStack) -> None:
    assert call("list_deliveries_of_prediction")[1]["results"] == []
    assert call("redeliver_failed") == (202, {"redelivered": 0, "cursor": None})
