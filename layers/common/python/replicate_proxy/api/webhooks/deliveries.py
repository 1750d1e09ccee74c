"""Routes of deliveries, delivery attempts and redelivery.

A list is about one endpoint, about one prediction (`?prediction=`), or about the webhooks that predictions
name themselves, whose target is PREDICTION_TARGET.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Self

from replicate_proxy.api.http import json_response
from replicate_proxy.api.pagination import build_page, decode_cursor
from replicate_proxy.api.query_parameters import parse_time_parameter
from replicate_proxy.api.validation import parse_body
from replicate_proxy.api.webhooks.bodies import RedeliverBody
from replicate_proxy.api.webhooks.views import build_attempt_view, build_delivery_view, build_redelivery_view
from replicate_proxy.auth.principal import Scope
from replicate_proxy.clock import format_timestamp, parse_timestamp
from replicate_proxy.errors import parameter_error
from replicate_proxy.ids import is_id
from replicate_proxy.webhooks.model import (
    PREDICTION_TARGET,
    Attempt,
    Delivery,
    DeliveryStatus,
    build_delivery_id,
    parse_delivery_id,
)
from replicate_proxy.webhooks.ports import DeliveryPosition
from replicate_proxy.webhooks.redelivery import TenantPosition

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicate_proxy.api.http import Request, Response
    from replicate_proxy.api.routing import Router
    from replicate_proxy.webhooks.endpoint_service import EndpointService
    from replicate_proxy.webhooks.ports import DeliveryStore
    from replicate_proxy.webhooks.redelivery import RedeliveryService


_ENDPOINT = "/v1/webhooks/endpoints/{endpoint_id}"
_DELIVERY = "/v1/webhooks/deliveries/{delivery_id}"
_PAGE_SIZE = 100


class _AttemptPosition(NamedTuple):
    """Where a page of the attempts of one prediction or delivery ended; they are sorted by it."""

    at: str
    delivery_id: str
    number: str

    @classmethod
    def of(cls, attempt: Attempt) -> Self:
        delivery_id = build_delivery_id(attempt.job_id, attempt.sequence, attempt.target)
        return cls(format_timestamp(attempt.sent_at), delivery_id, f"{attempt.number:010}")

    @classmethod
    def parse(cls, at: str, delivery_id: str, number: str) -> Self:
        """Return the position in a cursor. Raises ValueError if no page can have ended there."""
        parse_timestamp(at)
        if parse_delivery_id(delivery_id) is None or not number.isdigit():
            raise ValueError("not a position of an attempt")
        return cls(at, delivery_id, number)


def add_delivery_routes(
    router: Router, *, endpoints: EndpointService, redelivery: RedeliveryService, deliveries: DeliveryStore
) -> None:
    """Register the lists, the reads of one delivery, and the redelivery of one or of all failed ones."""
    _add_endpoint_lists(router, endpoints, deliveries)
    _add_prediction_lists(router, deliveries)
    _add_delivery_reads(router, redelivery, deliveries)
    _add_redelivery_routes(router, endpoints, redelivery)


def _add_endpoint_lists(router: Router, endpoints: EndpointService, store: DeliveryStore) -> None:
    @router.get(f"{_ENDPOINT}/deliveries", query=("cursor", "status", "since"))
    def list_endpoint_deliveries(request: Request) -> Response:
        tenant = request.principal.require(Scope.PREDICTIONS_READ).tenant
        endpoint = endpoints.get(tenant, request.path_params["endpoint_id"])
        return _list_deliveries(request, store, tenant, endpoint.id)

    @router.get(f"{_ENDPOINT}/attempts", query=("cursor",))
    def list_endpoint_attempts(request: Request) -> Response:
        tenant = request.principal.require(Scope.PREDICTIONS_READ).tenant
        endpoint = endpoints.get(tenant, request.path_params["endpoint_id"])
        return _list_attempts(request, store, tenant, endpoint.id)


def _add_prediction_lists(router: Router, store: DeliveryStore) -> None:
    @router.get("/v1/webhooks/deliveries", query=("prediction", "cursor", "status", "since"))
    def list_deliveries(request: Request) -> Response:
        tenant = request.principal.require(Scope.PREDICTIONS_READ).tenant
        if "prediction" not in request.query:
            return _list_deliveries(request, store, tenant, PREDICTION_TARGET)
        deliveries = store.list_by_job(tenant, _parse_prediction_id(request))
        return _build_delivery_page(request, deliveries)

    @router.get("/v1/webhooks/attempts", query=("prediction", "cursor"))
    def list_attempts(request: Request) -> Response:
        tenant = request.principal.require(Scope.PREDICTIONS_READ).tenant
        if "prediction" not in request.query:
            return _list_attempts(request, store, tenant, PREDICTION_TARGET)
        return _build_attempt_page(request, store.list_attempts_by_job(tenant, _parse_prediction_id(request)))


def _add_delivery_reads(router: Router, redelivery: RedeliveryService, store: DeliveryStore) -> None:
    @router.get(_DELIVERY)
    def get_delivery(request: Request) -> Response:
        tenant = request.principal.require(Scope.PREDICTIONS_READ).tenant
        delivery = redelivery.get_delivery(tenant, request.path_params["delivery_id"])
        return json_response(200, build_delivery_view(delivery))

    @router.get(f"{_DELIVERY}/attempts", query=("cursor",))
    def list_delivery_attempts(request: Request) -> Response:
        tenant = request.principal.require(Scope.PREDICTIONS_READ).tenant
        delivery = redelivery.get_delivery(tenant, request.path_params["delivery_id"])
        return _build_attempt_page(request, store.list_attempts(delivery))


def _add_redelivery_routes(router: Router, endpoints: EndpointService, redelivery: RedeliveryService) -> None:
    @router.post(f"{_DELIVERY}/redeliver")
    def redeliver_one(request: Request) -> Response:
        tenant = request.principal.require(Scope.PREDICTIONS_WRITE).tenant
        delivery = redelivery.redeliver(tenant, request.path_params["delivery_id"])
        return json_response(202, build_delivery_view(delivery))

    @router.post(f"{_ENDPOINT}/redeliver")
    def redeliver_to_endpoint(request: Request) -> Response:
        tenant = request.principal.require(Scope.PREDICTIONS_WRITE).tenant
        body = parse_body(RedeliverBody, request.json())
        endpoint = endpoints.get(tenant, request.path_params["endpoint_id"])
        after = decode_cursor(body.cursor, DeliveryPosition.parse)
        result = redelivery.redeliver_to_endpoint(endpoint, body.since, after=after)
        return json_response(202, build_redelivery_view(result))

    @router.post("/v1/webhooks/redeliver")
    def redeliver_to_all(request: Request) -> Response:
        tenant = request.principal.require(Scope.PREDICTIONS_WRITE).tenant
        body = parse_body(RedeliverBody, request.json())
        after = decode_cursor(body.cursor, TenantPosition.parse)
        result = redelivery.redeliver_all_failed(tenant, body.since, after=after)
        return json_response(202, build_redelivery_view(result))


def _list_deliveries(request: Request, store: DeliveryStore, tenant: str, target: str) -> Response:
    """Return a page of deliveries to a target. The status filter applies within the page."""
    status, since = _parse_status(request), parse_time_parameter(request, "since")
    page = store.list_by_target(
        tenant,
        target,
        since=since,
        after=decode_cursor(request.query.get("cursor"), DeliveryPosition.parse),
        limit=_PAGE_SIZE,
        oldest_first=False,
    )
    results = [
        build_delivery_view(delivery)
        for delivery in page.deliveries
        if status is None or delivery.status is status
    ]
    return json_response(200, build_page(request, results, page.next_position))


def _list_attempts(request: Request, store: DeliveryStore, tenant: str, target: str) -> Response:
    after = decode_cursor(request.query.get("cursor"), DeliveryPosition.parse)
    page = store.list_attempts_by_target(tenant, target, after=after, limit=_PAGE_SIZE)
    results = [build_attempt_view(attempt) for attempt in page.attempts]
    return json_response(200, build_page(request, results, page.next_position))


def _build_delivery_page(request: Request, deliveries: Sequence[Delivery]) -> Response:
    """Return a page of the deliveries of one prediction, oldest first."""
    status = _parse_status(request)
    after = decode_cursor(request.query.get("cursor"), _parse_delivery_position)
    found = [
        delivery
        for delivery in deliveries
        if status in (None, delivery.status) and (after is None or _locate(delivery) > after)
    ]
    page = found[:_PAGE_SIZE]
    results = [build_delivery_view(delivery) for delivery in page]
    return json_response(200, build_page(request, results, (page[-1].id,) if found[_PAGE_SIZE:] else None))


def _locate(delivery: Delivery) -> tuple[int, str]:
    """Return by what the deliveries of one prediction are sorted."""
    return delivery.sequence, delivery.target


def _parse_delivery_position(delivery_id: str) -> tuple[int, str]:
    """Return the position of the delivery in a cursor. Raises ValueError if no page can have ended there."""
    parsed = parse_delivery_id(delivery_id)
    if parsed is None:
        raise ValueError("not the ID of a delivery")
    return parsed[1:]


def _build_attempt_page(request: Request, attempts: Sequence[Attempt]) -> Response:
    """Return a page of the attempts of one prediction or delivery, oldest first."""
    after = decode_cursor(request.query.get("cursor"), _AttemptPosition.parse)
    by_position = {_AttemptPosition.of(attempt): attempt for attempt in attempts}
    positions = sorted(position for position in by_position if after is None or position > after)
    page = positions[:_PAGE_SIZE]
    results = [build_attempt_view(by_position[position]) for position in page]
    return json_response(200, build_page(request, results, page[-1] if positions[_PAGE_SIZE:] else None))


def _parse_prediction_id(request: Request) -> str:
    """Return the ID. The lists of one prediction have no beginning."""
    if "since" in request.query:
        raise parameter_error("since", "cannot be combined with prediction")
    text = request.query["prediction"]
    if not is_id(text):
        raise parameter_error("prediction", "must be the ID of a prediction")
    return text


def _parse_status(request: Request) -> DeliveryStatus | None:
    text = request.query.get("status")
    if text is None:
        return None
    if text not in set(DeliveryStatus):
        raise parameter_error("status", f"must be one of {', '.join(DeliveryStatus)}")
    return DeliveryStatus(text)
