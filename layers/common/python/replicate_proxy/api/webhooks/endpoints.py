"""Routes of webhook endpoints and signing secrets.

Reading requires the scope predictions:read. Changing anything, and reading a signing secret, requires
predictions:write.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from replicate_proxy.api.http import json_response
from replicate_proxy.api.pagination import build_page
from replicate_proxy.api.validation import parse_body
from replicate_proxy.api.webhooks.bodies import (
    CreateEndpointBody,
    EnableEndpointBody,
    RotateSecretBody,
    UpdateEndpointBody,
)
from replicate_proxy.api.webhooks.views import (
    build_delivery_view,
    build_endpoint_view,
    build_health_view,
    build_redelivery_view,
)
from replicate_proxy.auth.principal import Scope
from replicate_proxy.webhooks.model import EventKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicate_proxy.api.http import Request, Response
    from replicate_proxy.api.routing import Router
    from replicate_proxy.webhooks.endpoint_service import EndpointService
    from replicate_proxy.webhooks.redelivery import RedeliveryService


_ENDPOINTS = "/v1/webhooks/endpoints"
_ENDPOINT = "/v1/webhooks/endpoints/{endpoint_id}"


def add_endpoint_routes(router: Router, endpoints: EndpointService, redelivery: RedeliveryService) -> None:
    """Register the routes of endpoints, their secrets and the tenant's default secret."""
    _add_crud_routes(router, endpoints)
    _add_action_routes(router, endpoints, redelivery)
    _add_secret_routes(router, endpoints)


def _add_crud_routes(router: Router, endpoints: EndpointService) -> None:
    @router.post(_ENDPOINTS)
    def create_endpoint(request: Request) -> Response:
        tenant = request.principal.require(Scope.PREDICTIONS_WRITE).tenant
        body = parse_body(CreateEndpointBody, request.json())
        endpoint = endpoints.create(
            tenant, url=body.url, events=_parse_events(body.events), description=body.description
        )
        return json_response(201, {**build_endpoint_view(endpoint), "key": endpoint.secrets[0].text})

    @router.get(_ENDPOINTS, query=())
    def list_endpoints(request: Request) -> Response:
        tenant = request.principal.require(Scope.PREDICTIONS_READ).tenant
        results = [build_endpoint_view(endpoint) for endpoint in endpoints.list_all(tenant)]
        return json_response(200, build_page(request, results, None))

    @router.get(_ENDPOINT)
    def get_endpoint(request: Request) -> Response:
        tenant = request.principal.require(Scope.PREDICTIONS_READ).tenant
        endpoint = endpoints.get(tenant, request.path_params["endpoint_id"])
        health = build_health_view(endpoints.get_health(endpoint))
        return json_response(200, {**build_endpoint_view(endpoint), "health": health})

    @router.patch(_ENDPOINT)
    def update_endpoint(request: Request) -> Response:
        tenant = request.principal.require(Scope.PREDICTIONS_WRITE).tenant
        body = parse_body(UpdateEndpointBody, request.json())
        endpoint = endpoints.update(
            tenant,
            request.path_params["endpoint_id"],
            url=body.url,
            events=None if body.events is None else _parse_events(body.events),
            description=body.description,
            enabled=body.enabled,
        )
        return json_response(200, build_endpoint_view(endpoint))

    @router.delete(_ENDPOINT)
    def delete_endpoint(request: Request) -> Response:
        tenant = request.principal.require(Scope.PREDICTIONS_WRITE).tenant
        endpoints.delete(tenant, request.path_params["endpoint_id"])
        return json_response(204, None)


def _add_action_routes(router: Router, endpoints: EndpointService, redelivery: RedeliveryService) -> None:
    @router.post(f"{_ENDPOINT}/enable")
    def enable_endpoint(request: Request) -> Response:
        """Enable the endpoint and, unless the body says otherwise, redeliver the events it missed."""
        tenant = request.principal.require(Scope.PREDICTIONS_WRITE).tenant
        endpoint_id = request.path_params["endpoint_id"]
        body = parse_body(EnableEndpointBody, request.json_or_empty())
        missed_since = endpoints.get(tenant, endpoint_id).missed_since
        endpoint = endpoints.enable(tenant, endpoint_id, searches_missed=body.redeliver)
        view = build_endpoint_view(endpoint)
        if body.redeliver and missed_since is not None:
            view |= build_redelivery_view(redelivery.redeliver_missed(endpoint, missed_since))
        return json_response(200, view)

    @router.post(f"{_ENDPOINT}/test")
    def send_test_event(request: Request) -> Response:
        tenant = request.principal.require(Scope.PREDICTIONS_WRITE).tenant
        endpoint = endpoints.get(tenant, request.path_params["endpoint_id"])
        delivery = redelivery.send_test_event(endpoint, base_url=request.base_url)
        return json_response(202, build_delivery_view(delivery))


def _add_secret_routes(router: Router, endpoints: EndpointService) -> None:
    @router.get(f"{_ENDPOINT}/secret")
    def get_endpoint_secret(request: Request) -> Response:
        tenant = request.principal.require(Scope.PREDICTIONS_WRITE).tenant
        endpoint = endpoints.get(tenant, request.path_params["endpoint_id"])
        return json_response(200, {"key": endpoint.secrets[0].text})

    @router.post(f"{_ENDPOINT}/secret/rotate")
    def rotate_endpoint_secret(request: Request) -> Response:
        tenant = request.principal.require(Scope.PREDICTIONS_WRITE).tenant
        endpoint = endpoints.rotate_secret(
            tenant, request.path_params["endpoint_id"], _parse_overlap(request)
        )
        return json_response(200, {"key": endpoint.secrets[0].text})

    @router.get("/v1/webhooks/default/secret")
    def get_default_secret(request: Request) -> Response:
        """Return Replicate's shape (Replicate's OpenAPI document, webhooks.default.secret.get)."""
        tenant = request.principal.require(Scope.PREDICTIONS_WRITE).tenant
        return json_response(200, {"key": endpoints.get_default_secret(tenant)})

    @router.post("/v1/webhooks/default/secret/rotate")
    def rotate_default_secret(request: Request) -> Response:
        tenant = request.principal.require(Scope.PREDICTIONS_WRITE).tenant
        return json_response(200, {"key": endpoints.rotate_default_secret(tenant, _parse_overlap(request))})


def _parse_events(names: Sequence[str]) -> tuple[EventKind, ...]:
    return tuple(EventKind(name) for name in names)


def _parse_overlap(request: Request) -> timedelta:
    body = parse_body(RotateSecretBody, request.json_or_empty())
    return timedelta(seconds=body.overlap_seconds)
