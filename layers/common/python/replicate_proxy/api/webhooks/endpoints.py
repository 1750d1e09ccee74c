"""/v1/webhooks: a tenant's endpoints, secrets, deliveries and redeliveries.

Reading asks for the scope predictions:read; changing anything, and seeing a signing secret, for
predictions:write.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from replicate_proxy.api.http import Request, Response, Router, json_response
from replicate_proxy.api.routing import with_resource
from replicate_proxy.api.validation import parse_body
from replicate_proxy.api.webhooks.bodies import (
    CreateEndpointBody,
    EnableEndpointBody,
    RotateSecretBody,
    UpdateEndpointBody,
)
from replicate_proxy.api.webhooks.deliveries import add_delivery_routes
from replicate_proxy.api.webhooks.views import build_delivery_view, build_endpoint_view, build_health_view
from replicate_proxy.auth.principal import Scope
from replicate_proxy.webhooks.model import EventKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from replicate_proxy.webhooks.endpoint_service import EndpointService
    from replicate_proxy.webhooks.ports import DeliveryStore
    from replicate_proxy.webhooks.redelivery import RedeliveryService


_ENDPOINTS = "/v1/webhooks/endpoints"
_ENDPOINT = "/v1/webhooks/endpoints/{endpoint_id}"
_RESOURCES = (
    "/v1/webhooks/default/secret",
    "/v1/webhooks/default/secret/rotate",
    _ENDPOINTS,
    _ENDPOINT,
    f"{_ENDPOINT}/secret",
    f"{_ENDPOINT}/secret/rotate",
    f"{_ENDPOINT}/enable",
    f"{_ENDPOINT}/test",
    f"{_ENDPOINT}/deliveries",
    f"{_ENDPOINT}/attempts",
    f"{_ENDPOINT}/redeliver",
    "/v1/webhooks/redeliver",
    "/v1/webhooks/attempts",
    "/v1/webhooks/deliveries",
    "/v1/webhooks/deliveries/{delivery_id}",
    "/v1/webhooks/deliveries/{delivery_id}/attempts",
    "/v1/webhooks/deliveries/{delivery_id}/redeliver",
)


class WebhookApi:
    """Dispatches /v1/webhooks/… events to the services behind them."""

    def __init__(
        self,
        *,
        endpoints: EndpointService,
        redelivery: RedeliveryService,
        deliveries: DeliveryStore,
        public_base_url: str = "",
    ) -> None:
        self._routes = Router()
        _add_secret_routes(self._routes, endpoints)
        _add_endpoint_routes(self._routes, endpoints)
        _add_action_routes(self._routes, endpoints, redelivery, public_base_url)
        add_delivery_routes(
            self._routes,
            endpoints=endpoints,
            redelivery=redelivery,
            deliveries=deliveries,
            public_base_url=public_base_url,
        )

    def handle(self, event: Mapping[str, Any]) -> Response:
        return self._routes.handle(with_resource(event, _RESOURCES))


def _add_secret_routes(routes: Router, endpoints: EndpointService) -> None:
    @routes.get("/v1/webhooks/default/secret")
    def default_secret(request: Request) -> Response:
        """In Replicate's own shape (OpenAPI document, webhooks.default.secret.get)."""
        return json_response(200, {"key": endpoints.get_default_secret(_writer(request))})

    @routes.post("/v1/webhooks/default/secret/rotate")
    def rotate_default(request: Request) -> Response:
        return json_response(200, {"key": endpoints.rotate_default_secret(_writer(request), _grace(request))})

    @routes.get(f"{_ENDPOINT}/secret")
    def secret(request: Request) -> Response:
        endpoint = endpoints.get(_writer(request), request.path_params["endpoint_id"])
        return json_response(200, {"key": endpoint.secrets[0].text})

    @routes.post(f"{_ENDPOINT}/secret/rotate")
    def rotate(request: Request) -> Response:
        endpoint = endpoints.rotate_secret(
            _writer(request), request.path_params["endpoint_id"], _grace(request)
        )
        return json_response(200, {"key": endpoint.secrets[0].text})


def _add_endpoint_routes(routes: Router, endpoints: EndpointService) -> None:
    @routes.post(_ENDPOINTS)
    def create(request: Request) -> Response:
        tenant, body = _writer(request), parse_body(CreateEndpointBody, request.json())
        endpoint = endpoints.create(
            tenant, url=body.url, events=_event_kinds(body.events), description=body.description
        )
        return json_response(201, {**build_endpoint_view(endpoint), "key": endpoint.secrets[0].text})

    @routes.get(_ENDPOINTS)
    def list_all(request: Request) -> Response:
        found = endpoints.list_all(_reader(request))
        results = [build_endpoint_view(each) for each in found]
        return json_response(200, {"next": None, "previous": None, "results": results})

    @routes.get(_ENDPOINT)
    def get(request: Request) -> Response:
        endpoint = endpoints.get(_reader(request), request.path_params["endpoint_id"])
        health = build_health_view(endpoints.get_health(endpoint))
        return json_response(200, {**build_endpoint_view(endpoint), "health": health})

    @routes.patch(_ENDPOINT)
    def update(request: Request) -> Response:
        body = parse_body(UpdateEndpointBody, request.json())
        endpoint = endpoints.update(
            _writer(request),
            request.path_params["endpoint_id"],
            url=body.url,
            events=None if body.events is None else _event_kinds(body.events),
            description=body.description,
            enabled=body.enabled,
        )
        return json_response(200, build_endpoint_view(endpoint))

    @routes.delete(_ENDPOINT)
    def delete(request: Request) -> Response:
        endpoints.delete(_writer(request), request.path_params["endpoint_id"])
        return json_response(204, None)


def _add_action_routes(
    routes: Router, endpoints: EndpointService, redelivery: RedeliveryService, public_base_url: str
) -> None:
    @routes.post(f"{_ENDPOINT}/enable")
    def enable(request: Request) -> Response:
        """Also sends what the endpoint missed meanwhile, unless told not to."""
        tenant, endpoint_id = _writer(request), request.path_params["endpoint_id"]
        wanted = parse_body(EnableEndpointBody, request.json() if request.body else {})
        disabled_at = endpoints.get(tenant, endpoint_id).disabled_at
        endpoint = endpoints.enable(tenant, endpoint_id)
        view = build_endpoint_view(endpoint)
        if wanted.redeliver and disabled_at is not None:
            done = redelivery.redeliver_missed(endpoint, disabled_at)
            view |= {"redelivered": done.count, "redeliver_cursor": done.next_cursor}
        return json_response(200, view)

    @routes.post(f"{_ENDPOINT}/test")
    def test(request: Request) -> Response:
        endpoint = endpoints.get(_writer(request), request.path_params["endpoint_id"])
        delivery = redelivery.send_test_event(endpoint, base_url=public_base_url or request.base_url)
        return json_response(202, build_delivery_view(delivery))


def _reader(request: Request) -> str:
    request.principal.require(Scope.PREDICTIONS_READ)
    return request.principal.tenant


def _writer(request: Request) -> str:
    request.principal.require(Scope.PREDICTIONS_WRITE)
    return request.principal.tenant


def _event_kinds(names: Sequence[str]) -> tuple[EventKind, ...]:
    return tuple(EventKind(name) for name in names)


def _grace(request: Request) -> timedelta:
    wanted = parse_body(RotateSecretBody, request.json() if request.body else {})
    return timedelta(seconds=wanted.overlap_seconds)
