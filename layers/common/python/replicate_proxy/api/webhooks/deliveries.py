"""/v1/webhooks/deliveries, …/attempts, …/redeliver"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from replicate_proxy.api.http import Request, Response, Router, json_response
from replicate_proxy.api.validation import field_error, parse_body
from replicate_proxy.api.webhooks.bodies import RedeliverBody
from replicate_proxy.api.webhooks.views import build_attempt_view, build_delivery_view
from replicate_proxy.auth.principal import Scope
from replicate_proxy.clock import parse_optional_timestamp
from replicate_proxy.ids import is_id
from replicate_proxy.webhooks.model import PREDICTION_TARGET, DeliveryStatus

if TYPE_CHECKING:
    from datetime import datetime

    from replicate_proxy.webhooks.endpoint_service import EndpointService
    from replicate_proxy.webhooks.ports import DeliveryStore
    from replicate_proxy.webhooks.redelivery import RedeliveryResult, RedeliveryService


_ENDPOINT = "/v1/webhooks/endpoints/{endpoint_id}"
_DELIVERY = "/v1/webhooks/deliveries/{delivery_id}"
_PAGE = 100


def add_delivery_routes(
    routes: Router,
    *,
    endpoints: EndpointService,
    redelivery: RedeliveryService,
    deliveries: DeliveryStore,
    public_base_url: str = "",
) -> None:
    """Lists by endpoint, by prediction, of predictions' own webhooks; redelivery of one and of all failed."""
    pages = _Pages(public_base_url)
    _add_lists(routes, endpoints, deliveries, pages)
    _add_single(routes, redelivery, deliveries)
    _add_redeliveries(routes, endpoints, redelivery)


def _add_lists(routes: Router, endpoints: EndpointService, deliveries: DeliveryStore, pages: _Pages) -> None:
    def deliveries_to(request: Request, tenant: str, target: str) -> Response:
        status, since = _status(request), _since(request)
        page = deliveries.list_by_target(
            tenant, target, since=since, cursor=request.query.get("cursor"), limit=_PAGE, oldest_first=False
        )
        found = [each for each in page.deliveries if status is None or each.status is status]
        return pages.of(request, [build_delivery_view(each) for each in found], page.next_cursor)

    @routes.get(f"{_ENDPOINT}/deliveries")
    def of_endpoint(request: Request) -> Response:
        tenant = _reader(request)
        return deliveries_to(request, tenant, endpoints.get(tenant, request.path_params["endpoint_id"]).id)

    @routes.get(f"{_ENDPOINT}/attempts")
    def attempts_of_endpoint(request: Request) -> Response:
        tenant = _reader(request)
        endpoint = endpoints.get(tenant, request.path_params["endpoint_id"])
        page = deliveries.list_attempts_by_target(
            tenant, endpoint.id, cursor=request.query.get("cursor"), limit=_PAGE
        )
        return pages.of(request, [build_attempt_view(each) for each in page.attempts], page.next_cursor)

    @routes.get("/v1/webhooks/deliveries")
    def of_prediction(request: Request) -> Response:
        """With `prediction`, that one's to every target; without, those to predictions' own webhooks."""
        tenant = _reader(request)
        if "prediction" not in request.query:
            return deliveries_to(request, tenant, PREDICTION_TARGET)
        found = deliveries.list_by_job(tenant, _prediction(request))
        return pages.of(request, [build_delivery_view(each) for each in found], None)

    @routes.get("/v1/webhooks/attempts")
    def attempts_of_prediction(request: Request) -> Response:
        tenant = _reader(request)
        if "prediction" not in request.query:
            cursor = request.query.get("cursor")
            page = deliveries.list_attempts_by_target(tenant, PREDICTION_TARGET, cursor=cursor, limit=_PAGE)
            return pages.of(request, [build_attempt_view(each) for each in page.attempts], page.next_cursor)
        found = deliveries.list_attempts_by_job(tenant, _prediction(request))
        return pages.of(request, [build_attempt_view(each) for each in found], None)


def _add_single(routes: Router, redelivery: RedeliveryService, deliveries: DeliveryStore) -> None:
    @routes.get(_DELIVERY)
    def get(request: Request) -> Response:
        return json_response(
            200,
            build_delivery_view(
                redelivery.get_delivery(_reader(request), request.path_params["delivery_id"])
            ),
        )

    @routes.get(f"{_DELIVERY}/attempts")
    def attempts(request: Request) -> Response:
        delivery = redelivery.get_delivery(_reader(request), request.path_params["delivery_id"])
        results = [build_attempt_view(each) for each in deliveries.list_attempts(delivery)]
        return json_response(200, {"next": None, "previous": None, "results": results})

    @routes.post(f"{_DELIVERY}/redeliver")
    def redeliver(request: Request) -> Response:
        return json_response(
            202,
            build_delivery_view(redelivery.redeliver(_writer(request), request.path_params["delivery_id"])),
        )


def _add_redeliveries(routes: Router, endpoints: EndpointService, redelivery: RedeliveryService) -> None:
    @routes.post(f"{_ENDPOINT}/redeliver")
    def to_endpoint(request: Request) -> Response:
        tenant, wanted = _writer(request), parse_body(RedeliverBody, request.json())
        endpoint = endpoints.get(tenant, request.path_params["endpoint_id"])
        return _done(redelivery.redeliver_failed(tenant, endpoint.id, wanted.since, cursor=wanted.cursor))

    @routes.post("/v1/webhooks/redeliver")
    def to_all(request: Request) -> Response:
        tenant, wanted = _writer(request), parse_body(RedeliverBody, request.json())
        return _done(redelivery.redeliver_all_failed(tenant, wanted.since, cursor=wanted.cursor))


class _Pages:
    """Lists in Replicate's shape: `next` is the address of the following page."""

    def __init__(self, public_base_url: str) -> None:
        self._public_base_url = public_base_url

    def of(self, request: Request, results: list[dict[str, Any]], cursor: str | None) -> Response:
        following = None
        if cursor is not None:
            path = request.resource.format(**request.path_params)
            query = urlencode({**request.query, "cursor": cursor})
            following = f"{self._public_base_url or request.base_url}{path}?{query}"
        return json_response(200, {"next": following, "previous": None, "results": results})


def _reader(request: Request) -> str:
    request.principal.require(Scope.PREDICTIONS_READ)
    return request.principal.tenant


def _writer(request: Request) -> str:
    request.principal.require(Scope.PREDICTIONS_WRITE)
    return request.principal.tenant


def _done(done: RedeliveryResult) -> Response:
    return json_response(202, {"redelivered": done.count, "cursor": done.next_cursor})


def _prediction(request: Request) -> str:
    text = request.query["prediction"]
    if not is_id(text):
        raise field_error("prediction", "is not the id of a prediction")
    return text


def _status(request: Request) -> DeliveryStatus | None:
    text = request.query.get("status")
    if text is None:
        return None
    if text not in set(DeliveryStatus):
        raise field_error("status", f"is none of {', '.join(DeliveryStatus)}")
    return DeliveryStatus(text)


def _since(request: Request) -> datetime | None:
    text = request.query.get("since")
    try:
        return parse_optional_timestamp(text)
    except ValueError:
        raise field_error("since", "is not an ISO-8601 time with an offset") from None
