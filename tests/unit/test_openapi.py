"""docs/openapi.yaml describes exactly the registered routes, the template's routes and the bodies' models."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from unittest.mock import MagicMock

import pytest
import yaml

from replicate_proxy.api.admin.bodies import (
    CreateKeyBody,
    DiscardBody,
    EraseTenantBody,
    FallbackBody,
    ImagesBody,
    LimitsBody,
    ModelEntryBody,
    PauseBody,
    PriceBody,
    PutBudgetBody,
    PutConcurrencyBody,
    PutModelEntriesBody,
    PutModelEntryBody,
    PutReplicateTokenBody,
    PutTenantBody,
    RedriveBody,
    ResumeBody,
    RotateKeyBody,
    StartReplayBody,
    TripBreakerBody,
    UpdateKeyBody,
)
from replicate_proxy.api.admin.routes import AdminServices, add_admin_routes
from replicate_proxy.api.batches import add_batch_read_routes, add_batch_write_routes
from replicate_proxy.api.catalog import add_catalog_routes
from replicate_proxy.api.files import CreateUploadBody, add_file_routes
from replicate_proxy.api.health import add_health_routes
from replicate_proxy.api.predictions.batch_bodies import BatchEntryBody, CreateBatchBody, CreateLargeBatchBody
from replicate_proxy.api.predictions.bodies import CreatePredictionBody, CreatePredictionByVersionBody
from replicate_proxy.api.predictions.create_routes import add_prediction_create_routes
from replicate_proxy.api.predictions.end_routes import add_prediction_end_routes
from replicate_proxy.api.predictions.read_routes import add_prediction_read_routes
from replicate_proxy.api.queue_status import add_queue_status_routes
from replicate_proxy.api.refused import add_refused_routes
from replicate_proxy.api.replicate_webhook import add_replicate_webhook_routes
from replicate_proxy.api.routing import Router
from replicate_proxy.api.streams import add_stream_routes
from replicate_proxy.api.usage import add_usage_routes
from replicate_proxy.api.webhooks.bodies import (
    CreateEndpointBody,
    EnableEndpointBody,
    RedeliverBody,
    RotateSecretBody,
    UpdateEndpointBody,
)
from replicate_proxy.api.webhooks.deliveries import add_delivery_routes
from replicate_proxy.api.webhooks.endpoints import add_endpoint_routes
from replicate_proxy.audit.model import AuditAction
from replicate_proxy.auth.principal import Scope
from replicate_proxy.bootstrap.admin import build_dead_letter_queues
from replicate_proxy.console.api_docs import add_api_docs
from replicate_proxy.jobs.model import EndReason, JobStatus, WaitReason
from replicate_proxy.operations.bulk.model import BulkAction
from replicate_proxy.pauses.pause import PausedActivity
from replicate_proxy.services.catalog import CATALOG_ROUTES
from tests.template.rules.api import OPEN_ROUTES, iterate_methods
from tools.template.stack import iterate_parts, load_stack

if TYPE_CHECKING:
    from enum import StrEnum

    from pydantic import BaseModel

ROOT = Path(__file__).parents[2]
DOCUMENT: dict[str, Any] = yaml.safe_load((ROOT / "docs/openapi.yaml").read_text(encoding="utf-8"))
METHODS = ("get", "put", "post", "patch", "delete", "options", "head")
OPERATIONS = {
    (method, path): operation
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
    if method in METHODS
}
BODIES: tuple[type[BaseModel], ...] = (
    BatchEntryBody,
    CreateBatchBody,
    CreateLargeBatchBody,
    CreateEndpointBody,
    CreateKeyBody,
    CreatePredictionBody,
    CreatePredictionByVersionBody,
    CreateUploadBody,
    DiscardBody,
    EnableEndpointBody,
    FallbackBody,
    LimitsBody,
    ModelEntryBody,
    PriceBody,
    PauseBody,
    StartReplayBody,
    PutBudgetBody,
    PutConcurrencyBody,
    PutModelEntriesBody,
    PutModelEntryBody,
    PutReplicateTokenBody,
    PutTenantBody,
    EraseTenantBody,
    RedeliverBody,
    RedriveBody,
    ResumeBody,
    RotateKeyBody,
    RotateSecretBody,
    TripBreakerBody,
    UpdateEndpointBody,
    UpdateKeyBody,
)
UNUSED = cast(Any, None)  # registering a route does not use the service behind it

type Route = tuple[str, str]


def build_router() -> Router:
    """Return a router with the routes of all functions."""
    router = Router()
    add_admin_routes(router, AdminServices(*[UNUSED] * len(fields(AdminServices))))
    add_batch_write_routes(
        router, parser=UNUSED, batches=UNUSED, large_batches=UNUSED, renderer=UNUSED, clock=UNUSED
    )
    add_batch_read_routes(
        router, batches=UNUSED, batch_list=UNUSED, results=UNUSED, renderer=UNUSED, clock=UNUSED
    )
    add_catalog_routes(router, UNUSED, UNUSED)
    add_refused_routes(router)
    add_delivery_routes(router, endpoints=UNUSED, redelivery=UNUSED, deliveries=UNUSED)
    add_endpoint_routes(router, UNUSED, UNUSED)
    add_file_routes(router, UNUSED, load_signing_key=UNUSED)
    add_health_routes(router)
    add_prediction_read_routes(router, UNUSED, UNUSED)
    add_prediction_create_routes(
        router, parser=UNUSED, creator=UNUSED, waiter=UNUSED, stream_waiter=UNUSED, renderer=UNUSED
    )
    add_prediction_end_routes(router, canceler=UNUSED, deleter=UNUSED, renderer=UNUSED)
    add_replicate_webhook_routes(router, UNUSED)
    add_stream_routes(router, UNUSED)
    add_usage_routes(router, UNUSED, UNUSED)
    add_queue_status_routes(router, UNUSED)
    add_api_docs(router, UNUSED, UNUSED)
    return router


def list_registered_routes() -> set[Route]:
    """Return every (method, path) that some function handles."""
    return {(method.lower(), path) for method, path in build_router().routes}


def resolve(part: dict[str, Any]) -> dict[str, Any]:
    """Return what a reference to a component of the document leads to; other parts as they are."""
    while "$ref" in part:
        target: Any = DOCUMENT
        for key in part["$ref"].removeprefix("#/").split("/"):
            target = target[key]
        part = target
    return part


def returns_list(operation: dict[str, Any]) -> bool:
    """Return whether the successful response has `results`."""
    response = resolve(operation["responses"].get("200", {}))
    schema = resolve(response.get("content", {}).get("application/json", {}).get("schema", {}))
    parts = [schema, *map(resolve, schema.get("allOf", ()))]
    return any("results" in part.get("properties", {}) for part in parts)


def list_template_routes() -> set[Route]:
    """Return the routes of the API. The console has pages, which no program calls."""
    return {
        (method, path) for method, path, _ in iterate_methods(load_stack()) if not path.startswith("/console")
    }


def leads_to(template_route: Route, route: Route) -> bool:
    """Return whether the template's route, which may end in `{proxy+}`, includes the route."""
    pattern = re.escape(template_route[1]).replace(re.escape("{proxy+}"), ".+")
    return template_route[0] == route[0] and re.fullmatch(pattern, route[1]) is not None


def test_documented_routes_are_the_registered_routes() -> None:
    documented = {(method, path.replace("{proxy}", "{proxy+}")) for method, path in OPERATIONS}
    assert list_registered_routes() == documented


def test_template_leads_to_every_registered_route() -> None:
    template_routes = list_template_routes()
    unreachable = [
        route
        for route in list_registered_routes()
        if not any(leads_to(template_route, route) for template_route in template_routes)
    ]
    assert unreachable == []


def test_every_template_route_leads_to_a_registered_route() -> None:
    # No route below /v1/webhooks uses PUT; the function replies 404.
    registered = list_registered_routes()
    unused = {
        template_route
        for template_route in list_template_routes()
        if not any(leads_to(template_route, route) for route in registered)
    }
    assert unused == {("put", "/v1/webhooks/{proxy+}")}


def test_operations_without_api_key_are_the_open_routes_of_the_template() -> None:
    documented = {route for route, operation in OPERATIONS.items() if operation.get("security") == []}
    open_routes = {route for route in OPEN_ROUTES if not route[1].startswith("/console")}
    assert {(method, path.replace("{proxy}", "{proxy+}")) for method, path in documented} == open_routes


def test_all_other_operations_require_an_api_key() -> None:
    assert DOCUMENT["security"] == [{"key": []}]
    assert all(
        "security" not in operation or operation["security"] == [] for operation in OPERATIONS.values()
    )


@pytest.mark.parametrize("model", BODIES)
def test_body_schema_has_the_fields_of_its_model(model: type[BaseModel]) -> None:
    schema = DOCUMENT["components"]["schemas"][model.__name__]
    names = {field: info.alias or field for field, info in model.model_fields.items()}
    required = {names[field] for field, info in model.model_fields.items() if info.is_required()}

    assert set(schema["properties"]) == set(names.values())
    assert set(schema.get("required", ())) == required
    assert schema["additionalProperties"] is False
    assert model.model_config["extra"] == "forbid"


def test_body_schemas_are_those_of_models() -> None:
    # POST / accepts two forms, and its schema is their union.
    schemas = {name for name in DOCUMENT["components"]["schemas"] if name.endswith("Body")}
    assert schemas == {model.__name__ for model in BODIES} | {"CreatePlainPredictionBody"}


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("JobStatus", JobStatus),
        ("ErrorClass", EndReason),
        ("WaitReason", WaitReason),
        ("Scope", Scope),
        ("PausedActivity", PausedActivity),
        ("BulkAction", BulkAction),
        ("AuditAction", AuditAction),
    ],
)
def test_documented_values_are_those_of_the_code(name: str, values: type[StrEnum]) -> None:
    documented = DOCUMENT["components"]["schemas"][name]["enum"]
    assert sorted(documented) == sorted(values)


def test_documented_queues_are_those_of_operators() -> None:
    env, invocations = MagicMock(), MagicMock()
    env.__getitem__.side_effect = lambda setting: setting.name
    documented = DOCUMENT["components"]["schemas"]["QueueName"]["enum"]

    assert sorted(documented) == sorted(build_dead_letter_queues(env, invocations))


def test_image_settings_schema_has_the_fields_of_its_model() -> None:
    images = DOCUMENT["components"]["schemas"]["PutTenantBody"]["properties"]["images"]
    assert set(images["properties"]) == set(ImagesBody.model_fields)


def test_catalog_query_parameters_are_those_passed_on() -> None:
    for route in CATALOG_ROUTES:
        parameters = OPERATIONS["get", route.resource].get("parameters", [])
        # The cursor parameter is a reference.
        names = {parameter.get("name", "cursor") for parameter in parameters}
        assert names == route.query_parameters, route.resource


def test_every_list_accepts_its_documented_query_parameters_and_no_others() -> None:
    accepted = build_router().query_parameters
    catalog = {("get", route.resource) for route in CATALOG_ROUTES}  # These have a list of their own.
    lists = [
        (method, path)
        for (method, path), operation in OPERATIONS.items()
        if method == "get" and returns_list(operation) and (method, path) not in catalog
    ]

    assert len(lists) >= 10
    for method, path in lists:
        operation = OPERATIONS[method, path]
        parameters = map(resolve, operation.get("parameters", ()))
        documented = {parameter["name"] for parameter in parameters if parameter["in"] == "query"}
        assert ("GET", path) in accepted, path
        assert set(accepted["GET", path]) == documented, path
        assert "400" in operation["responses"], path


def test_path_parameters_are_declared() -> None:
    for path, item in DOCUMENT["paths"].items():
        declared = {
            parameter["name"] for parameter in item.get("parameters", ()) if parameter["in"] == "path"
        }
        assert declared == set(re.findall(r"{(\w+)}", path)), path


def test_references_resolve() -> None:
    for location, part in iterate_parts(DOCUMENT):
        if isinstance(part, dict) and isinstance(part.get("$ref"), str):
            target: Any = DOCUMENT
            for key in part["$ref"].removeprefix("#/").split("/"):
                assert key in target, f"{location}: {part['$ref']}"
                target = target[key]


def test_no_description_ends_at_its_first_comma() -> None:
    # `{description: Spent, and reserved}` has a key `and reserved` without a value.
    parts = [(location, part) for location, part in iterate_parts(DOCUMENT) if isinstance(part, dict)]
    cut_off = [
        f"{location}: {key}"
        for location, part in parts
        for key, value in part.items()
        if value is None and key != "const"
    ]
    assert cut_off == []


def test_operation_ids_are_unique_and_every_operation_documents_errors() -> None:
    operation_ids = [operation["operationId"] for operation in OPERATIONS.values()]
    assert len(set(operation_ids)) == len(operation_ids)
    problem = {"$ref": "#/components/responses/Problem"}
    assert [
        route for route, operation in OPERATIONS.items() if operation["responses"].get("default") != problem
    ] == []
