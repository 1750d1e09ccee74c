"""The table of Replicate's operations in docs/api.md agrees with Replicate's API and with our routes."""

from __future__ import annotations

import re
from pathlib import Path

from replicate_proxy.api.refused import REFUSED_OPERATIONS
from replicate_proxy.services.catalog import CATALOG_ROUTES
from tests.unit.test_openapi import list_registered_routes

PAGE = Path(__file__).parents[2] / "docs/api.md"
# Methods and paths of Replicate's OpenAPI document (api.replicate.com, version 1.0.0-a1 of 2026-03-16).
REPLICATE_OPERATIONS = """
GET /account
GET /collections
GET /collections/{collection_slug}
GET /deployments
POST /deployments
DELETE /deployments/{deployment_owner}/{deployment_name}
GET /deployments/{deployment_owner}/{deployment_name}
PATCH /deployments/{deployment_owner}/{deployment_name}
POST /deployments/{deployment_owner}/{deployment_name}/predictions
GET /files
POST /files
DELETE /files/{file_id}
GET /files/{file_id}
GET /files/{file_id}/download
GET /hardware
GET /models
POST /models
QUERY /models
DELETE /models/{model_owner}/{model_name}
GET /models/{model_owner}/{model_name}
PATCH /models/{model_owner}/{model_name}
GET /models/{model_owner}/{model_name}/examples
POST /models/{model_owner}/{model_name}/predictions
GET /models/{model_owner}/{model_name}/readme
GET /models/{model_owner}/{model_name}/versions
DELETE /models/{model_owner}/{model_name}/versions/{version_id}
GET /models/{model_owner}/{model_name}/versions/{version_id}
POST /models/{model_owner}/{model_name}/versions/{version_id}/trainings
GET /predictions
POST /predictions
GET /predictions/{prediction_id}
POST /predictions/{prediction_id}/cancel
GET /search
GET /trainings
GET /trainings/{training_id}
POST /trainings/{training_id}/cancel
GET /webhooks/default/secret
"""
_ROW = re.compile(
    r"^\| `([A-Z]+) (/v1/\S+)` \| (supported|passed through|refused) \| (?:(.*) )?\|$", re.MULTILINE
)

type Operation = tuple[str, str]


def without_names(method: str, path: str) -> Operation:
    """Return method and path with nameless parameters: Replicate names them otherwise than we do."""
    return method.upper(), re.sub(r"{\w+}", "{}", path)


def read_table() -> dict[Operation, tuple[str, str]]:
    """Return what the page says about each operation: a word and a reason."""
    return {
        without_names(method, path): (word, reason)
        for method, path, word, reason in _ROW.findall(PAGE.read_text(encoding="utf-8"))
    }


def list_operations(word: str) -> set[Operation]:
    return {operation for operation, (said, _) in read_table().items() if said == word}


REGISTERED = {without_names(*route) for route in list_registered_routes()}
REFUSED = {without_names(operation.method, operation.resource) for operation in REFUSED_OPERATIONS}
CATALOG = {without_names("GET", route.resource) for route in CATALOG_ROUTES}
WITHOUT_ROUTE = {("QUERY", "/v1/models")}  # API Gateway does not know the method.


def test_table_lists_the_operations_of_replicates_document() -> None:
    operations = [
        without_names(method, f"/v1{path}")
        for method, path in map(str.split, REPLICATE_OPERATIONS.strip().splitlines())
    ]

    assert len(operations) == 37
    assert set(read_table()) == set(operations)


def test_refused_operations_are_those_of_the_code() -> None:
    assert list_operations("refused") == REFUSED | WITHOUT_ROUTE
    assert not REGISTERED & WITHOUT_ROUTE


def test_passed_through_operations_are_those_of_the_catalog() -> None:
    assert list_operations("passed through") == CATALOG


def test_supported_operations_have_a_route_of_their_own() -> None:
    assert list_operations("supported") <= REGISTERED
    assert not list_operations("supported") & (REFUSED | CATALOG)


def test_every_refusal_has_a_reason() -> None:
    assert [operation for operation in list_operations("refused") if not read_table()[operation][1]] == []
