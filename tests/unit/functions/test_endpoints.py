from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from functions.endpoints import app
from tests.support.delivery_stack import DeliveryStack, delivery_stack, sample
from tests.unit.functions.test_notify import Context

if TYPE_CHECKING:
    from collections.abc import Iterator

# A call may have nothing to count.
pytestmark = pytest.mark.filterwarnings("ignore:No application metrics to publish")


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch) -> Iterator[DeliveryStack]:
    with delivery_stack(monkeypatch) as made:
        yield made


def call(name: str) -> tuple[int, Any]:
    reply = app.lambda_handler(sample(f"endpoints/{name}.json"), Context())
    return reply["statusCode"], json.loads(reply["body"])


def test_the_default_secret_stays_the_same(stack: DeliveryStack) -> None:
    status, first = call("default-secret")
    assert (status, set(first)) == (200, {"key"})
    assert call("default-secret") == (200, first)


def test_an_endpoint_is_made(stack: DeliveryStack) -> None:
    status, made = call("create")
    assert (status, made["url"], made["events"]) == (201, "https://app.example/webhooks", ["completed"])


def test_an_address_inside_is_refused(stack: DeliveryStack) -> None:
    status, problem = call("create-refused")
    assert (status, problem["invalid_fields"][0]["field"]) == (422, "url")


def test_lists_and_redeliveries_begin_empty(stack: DeliveryStack) -> None:
    assert call("deliveries-of-prediction")[1]["results"] == []
    assert call("redeliver-failed") == (202, {"redelivered": 0, "cursor": None})
