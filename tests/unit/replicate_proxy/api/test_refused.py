"""Operations that are refused say what to use instead, and which methods their path supports."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from replicate_proxy.api.catalog import add_catalog_routes
from replicate_proxy.api.refused import REFUSED_OPERATIONS, RefusedOperation, add_refused_routes
from replicate_proxy.api.routing import Router
from replicate_proxy.model_entries.directory import NoEntries
from tests.support.builders import make_event


def send(operation: RefusedOperation) -> dict[str, Any]:
    router = Router()
    add_catalog_routes(router, cast(Any, None), NoEntries())  # a refused request does not use the catalog
    add_refused_routes(router)
    names = [part.strip("{}") for part in operation.resource.split("/") if part.startswith("{")]
    event = make_event(operation.method, operation.resource, params=dict.fromkeys(names, "acme"))
    return router.handle(event)


@pytest.mark.parametrize("operation", REFUSED_OPERATIONS, ids=lambda case: f"{case.method} {case.resource}")
def test_refused_operation_gets_405_that_says_what_to_use(operation: RefusedOperation) -> None:
    response = send(operation)

    problem = json.loads(response["body"])
    assert response["statusCode"] == problem["status"] == 405
    assert response["headers"]["content-type"] == "application/problem+json"
    assert "api.replicate.com" in problem["detail"]
    assert "/v1/" in problem["detail"]


@pytest.mark.parametrize(
    ("method", "resource", "allowed"),
    [
        ("POST", "/v1/models", "GET, OPTIONS"),
        ("DELETE", "/v1/deployments/{owner}/{name}", "GET, OPTIONS"),
        ("GET", "/v1/trainings", "OPTIONS"),
    ],
)
def test_refused_operation_names_the_methods_of_its_path(method: str, resource: str, allowed: str) -> None:
    assert send(RefusedOperation(method, resource, ""))["headers"]["allow"] == allowed
