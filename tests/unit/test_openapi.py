"""docs/openapi.yaml says what routes, template events and bodies' models say, no more, no less."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
import yaml

from replicate_proxy.api.admin.bodies import (
    CreateKeyBody,
    DiscardBody,
    ImagesBody,
    LimitsBody,
    PutTenantBody,
    RedriveBody,
    RotateKeyBody,
    TripBreakerBody,
    UpdateKeyBody,
)
from replicate_proxy.api.admin.routes import AdminApi, AdminServices
from replicate_proxy.api.batches import add_batch_read_routes, add_batch_write_routes
from replicate_proxy.api.catalog import catalog_routes
from replicate_proxy.api.files import CreateUploadBody, file_routes
from replicate_proxy.api.http import Router
from replicate_proxy.api.predictions.bodies import (
    BatchEntryBody,
    CreateBatchBody,
    CreatePredictionBody,
    CreatePredictionByVersionBody,
)
from replicate_proxy.api.predictions.read_routes import query_routes
from replicate_proxy.api.predictions.write_routes import ingest_routes
from replicate_proxy.api.replicate_webhook import webhook_routes
from replicate_proxy.api.webhooks.bodies import (
    CreateEndpointBody,
    EnableEndpointBody,
    RedeliverBody,
    RotateSecretBody,
    UpdateEndpointBody,
)
from replicate_proxy.api.webhooks.endpoints import WebhookApi
from replicate_proxy.services.catalog import CATALOG_ROUTES
from tests.template.rules.api import OPEN_ROUTES, iterate_methods
from tests.template.stack import iterate_parts, load_stack

if TYPE_CHECKING:
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
BODIES: dict[str, type[BaseModel]] = {
    "Discard": DiscardBody,
    "Enabling": EnableEndpointBody,
    "EndpointChange": UpdateEndpointBody,
    "KeyChange": UpdateKeyBody,
    "Limits": LimitsBody,
    "NewBatch": CreateBatchBody,
    "NewBatchEntry": BatchEntryBody,
    "NewEndpoint": CreateEndpointBody,
    "NewKey": CreateKeyBody,
    "NewModelPrediction": CreatePredictionBody,
    "NewPrediction": CreatePredictionByVersionBody,
    "NewUpload": CreateUploadBody,
    "Redelivery": RedeliverBody,
    "Redrive": RedriveBody,
    "Rotation": RotateKeyBody,
    "TenantSettings": PutTenantBody,
    "Trip": TripBreakerBody,
}
NOTHING = cast(Any, None)  # registering a route asks nothing of the service behind it


def registered() -> set[tuple[str, str]]:
    """Every (method, path) that some function's code answers."""
    services = AdminServices(*[NOTHING] * 6)
    batches = Router()
    add_batch_write_routes(batches, reader=NOTHING, batches=NOTHING, views=NOTHING)
    add_batch_read_routes(batches, batches=NOTHING, views=NOTHING)
    makers: list[Router] = [
        batches,
        AdminApi(services)._routes,
        WebhookApi(endpoints=NOTHING, redelivery=NOTHING, deliveries=NOTHING)._routes,
        catalog_routes(NOTHING),
        file_routes(NOTHING, signing_key=NOTHING),
        ingest_routes(reader=NOTHING, ingest=NOTHING, cancel=NOTHING, hold=NOTHING, views=NOTHING),
        query_routes(NOTHING),
        webhook_routes(NOTHING),
    ]
    return {(method.lower(), path) for routes in makers for method, path in routes._handlers}


def gateway() -> set[tuple[str, str]]:
    return {(method, path) for method, path, _ in iterate_methods(load_stack())}


def reached(route: tuple[str, str], by: tuple[str, str]) -> bool:
    """Whether the gateway's route `by`, which may end in `{proxy+}`, takes in the route."""
    pattern = re.escape(by[1]).replace(re.escape("{proxy+}"), ".+")
    return route[0] == by[0] and re.fullmatch(pattern, route[1]) is not None


def test_every_route_of_the_code_is_documented_and_no_other() -> None:
    documented = {(method, path.replace("{proxy}", "{proxy+}")) for method, path in OPERATIONS}
    assert registered() == documented


def test_the_gateway_leads_to_every_route() -> None:
    lost = [route for route in registered() if not any(reached(route, by) for by in gateway())]
    assert lost == []


def test_every_event_of_the_template_leads_to_some_route() -> None:
    # A PUT below /v1/webhooks has no use yet; the function answers 404.
    idle = {by for by in gateway() if not any(reached(route, by) for route in registered())}
    assert idle == {("put", "/v1/webhooks/{proxy+}")}


def test_what_needs_no_key_is_what_the_template_leaves_open() -> None:
    open_ = {route for route, operation in OPERATIONS.items() if operation.get("security") == []}
    assert {(method, path.replace("{proxy}", "{proxy+}")) for method, path in open_} == set(OPEN_ROUTES)


def test_all_others_ask_for_a_key() -> None:
    assert DOCUMENT["security"] == [{"key": []}]
    assert all("security" not in one or one["security"] == [] for one in OPERATIONS.values())


@pytest.mark.parametrize("name", BODIES)
def test_a_body_has_the_fields_of_its_model(name: str) -> None:
    schema, model = DOCUMENT["components"]["schemas"][name], BODIES[name]
    needed = {field for field, info in model.model_fields.items() if info.is_required()}

    assert set(schema["properties"]) == set(model.model_fields)
    assert set(schema.get("required", ())) == needed
    assert schema["additionalProperties"] is False
    assert model.model_config["extra"] == "forbid"


def test_bodies_that_share_a_schema_share_their_fields() -> None:
    assert set(RotateKeyBody.model_fields) == set(RotateSecretBody.model_fields)
    images = DOCUMENT["components"]["schemas"]["TenantSettings"]["properties"]["images"]
    assert set(images["properties"]) == set(ImagesBody.model_fields)


def test_catalog_parameters_are_those_passed_on() -> None:
    for entry in CATALOG_ROUTES:
        given = OPERATIONS["get", entry.resource].get("parameters", [])
        names = {one.get("name", "cursor") for one in given}
        assert names == entry.query_parameters, entry.resource


def test_path_parameters_are_declared() -> None:
    for path, item in DOCUMENT["paths"].items():
        declared = {one["name"] for one in item.get("parameters", ()) if one["in"] == "path"}
        assert declared == set(re.findall(r"{(\w+)}", path)), path


def test_references_lead_somewhere() -> None:
    for where, part in iterate_parts(DOCUMENT):
        if isinstance(part, dict) and isinstance(part.get("$ref"), str):
            found: Any = DOCUMENT
            for step in part["$ref"].removeprefix("#/").split("/"):
                assert step in found, f"{where}: {part['$ref']}"
                found = found[step]


def test_operations_have_names_of_their_own_and_say_how_errors_look() -> None:
    names = [operation["operationId"] for operation in OPERATIONS.values()]
    assert len(set(names)) == len(names)
    problem = {"$ref": "#/components/responses/Problem"}
    assert [route for route, one in OPERATIONS.items() if one["responses"].get("default") != problem] == []
