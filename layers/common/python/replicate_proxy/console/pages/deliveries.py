"""Pages of webhooks: endpoints with their health, deliveries with their attempts, and what resends them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from replicate_proxy.api.pagination import decode_cursor, encode_cursor
from replicate_proxy.api.validation import parse_body
from replicate_proxy.api.webhooks.bodies import CreateEndpointBody, RedeliverBody
from replicate_proxy.api.webhooks.views import (
    build_attempt_view,
    build_endpoint_view,
    build_health_view,
    build_redelivery_view,
)
from replicate_proxy.audit.model import AuditAction
from replicate_proxy.clock import format_timestamp
from replicate_proxy.console.delivery_rows import build_delivery_rows
from replicate_proxy.console.pages.predictions import choose_tenant, list_tenants_to_choose
from replicate_proxy.console.reads import read_together
from replicate_proxy.errors import NotFoundError, field_error
from replicate_proxy.parallel import map_in_parallel
from replicate_proxy.pauses.pause import PausedActivity, find_pause
from replicate_proxy.webhooks.model import PREDICTION_TARGET, EventKind
from replicate_proxy.webhooks.ports import DeliveryPosition
from replicate_proxy.webhooks.redelivery import TenantPosition

if TYPE_CHECKING:
    from replicate_proxy.api.http import Response
    from replicate_proxy.console.page import Page
    from replicate_proxy.console.pages_router import PageRouter
    from replicate_proxy.console.services import ConsoleServices
    from replicate_proxy.pauses.pause import Pause
    from replicate_proxy.webhooks.endpoints import Endpoint
    from replicate_proxy.webhooks.model import Delivery

_PAGE_SIZE = 50
_MAX_RESEND_HOURS = 24 * 30
_ENDPOINT = "/endpoints/{tenant}/{endpoint_id}"


def add_delivery_pages(pages: PageRouter, services: ConsoleServices) -> None:
    """Register the pages of endpoints and deliveries."""
    _add_lists(pages, services)
    _add_endpoint_changes(pages, services)
    _add_resends(pages, services)


def _add_lists(pages: PageRouter, services: ConsoleServices) -> None:
    @pages.get("/deliveries")
    def show_deliveries(page: Page) -> Response:
        return _show_deliveries(page, services)

    @pages.get(_ENDPOINT)
    def show_endpoint(page: Page) -> Response:
        endpoint = _find_endpoint(page, services)
        here = f"/endpoints/{endpoint.tenant}/{endpoint.id}"
        read = read_together(
            deliveries=lambda: _list_deliveries(page, services, endpoint.tenant, endpoint.id),
            attempts=lambda: services.deliveries.list_attempts_by_target(
                endpoint.tenant, endpoint.id, after=None, limit=_PAGE_SIZE
            ),
            health=lambda: services.endpoints.get_health(endpoint),
            pause=lambda: _read_pause(services, endpoint.tenant),
        )
        rows, next_cursor = read["deliveries"]
        return page.render(
            "endpoint.html",
            tenant=endpoint.tenant,
            endpoint=build_endpoint_view(endpoint),
            health=build_health_view(read["health"]),
            rows=rows,
            pause=read["pause"],
            first_url=page.url(here),
            next_url=page.url(here, cursor=next_cursor) if next_cursor else None,
            attempts=[build_attempt_view(attempt) for attempt in read["attempts"].attempts],
        )


def _add_endpoint_changes(pages: PageRouter, services: ConsoleServices) -> None:
    @pages.post("/endpoints/{tenant}")
    def create_endpoint(page: Page) -> Response:
        tenant = page.signed_in_viewer.require_tenant(page.request.path_params["tenant"])

        return page.attempt(
            lambda: _create_endpoint(page, services, tenant),
            lambda problem: _show_deliveries(page, services, tenant=tenant, problem=problem),
        )

    @pages.post(f"{_ENDPOINT}/enable")
    def enable_endpoint(page: Page) -> Response:
        endpoint = _find_endpoint(page, services)
        with _audit_update(services, endpoint) as audited:
            enabled = services.endpoints.enable(endpoint.tenant, endpoint.id)
            audited.after = build_endpoint_view(enabled)
            if endpoint.missed_since is not None:
                services.redelivery.redeliver_missed(enabled, endpoint.missed_since)
        return _return_to(page, endpoint, "enabled")

    @pages.post(f"{_ENDPOINT}/disable")
    def disable_endpoint(page: Page) -> Response:
        endpoint = _find_endpoint(page, services)
        with _audit_update(services, endpoint) as audited:
            disabled = services.endpoints.update(endpoint.tenant, endpoint.id, enabled=False)
            audited.after = build_endpoint_view(disabled)
        return _return_to(page, endpoint, "disabled")

    @pages.post(f"{_ENDPOINT}/delete")
    def delete_endpoint(page: Page) -> Response:
        endpoint = _find_endpoint(page, services)
        with services.audit.change(
            AuditAction.DELETE_ENDPOINT,
            f"endpoints/{endpoint.id}",
            tenant=endpoint.tenant,
            before=build_endpoint_view(endpoint),
        ):
            services.endpoints.delete(endpoint.tenant, endpoint.id)
        return page.redirect("/deliveries", tenant=endpoint.tenant, notice="deleted")

    @pages.post(f"{_ENDPOINT}/test")
    def send_test_event(page: Page) -> Response:
        endpoint = _find_endpoint(page, services)
        with services.audit.change(
            AuditAction.TEST_ENDPOINT, f"endpoints/{endpoint.id}", tenant=endpoint.tenant
        ):
            services.redelivery.send_test_event(endpoint, base_url=page.public_base_url)
        return _return_to(page, endpoint, "tested")


def _create_endpoint(page: Page, services: ConsoleServices, tenant: str) -> Response:
    """Create the endpoint of the form, and show its secret once."""
    fields = {
        "url": page.form.get("url"),
        "events": page.form.get_all("events"),
        "description": page.form.get("description"),
    }
    body = parse_body(CreateEndpointBody, fields)
    with services.audit.change(AuditAction.CREATE_ENDPOINT, "endpoints", tenant=tenant) as audited:
        endpoint = services.endpoints.create(
            tenant,
            url=body.url,
            events=tuple(map(EventKind, body.events)),
            description=body.description,
        )
        audited.after = build_endpoint_view(endpoint)
    return page.render(
        "endpoint_created.html", tenant=tenant, endpoint=endpoint, secret=endpoint.secrets[0].text
    )


def _add_resends(pages: PageRouter, services: ConsoleServices) -> None:
    @pages.post("/deliveries/{tenant}/resend")
    def resend_failed(page: Page) -> Response:
        tenant = page.signed_in_viewer.require_tenant(page.request.path_params["tenant"])
        hours = page.form.get_optional(hours=int).get("hours", 0)
        if not 1 <= hours <= _MAX_RESEND_HOURS:
            raise field_error("hours", f"must be a whole number from 1 to {_MAX_RESEND_HOURS}")
        body = _parse_resend(page, hours)
        result = services.admin.redeliveries.redeliver_all_failed(
            tenant, body.since, after=decode_cursor(body.cursor, TenantPosition.parse)
        )
        return page.render(
            "resent.html",
            tenant=tenant,
            hours=hours,
            since=format_timestamp(body.since),
            **build_redelivery_view(result),
        )

    @pages.post("/deliveries/{tenant}/{delivery_id}/redeliver")
    def redeliver(page: Page) -> Response:
        tenant = page.signed_in_viewer.require_tenant(page.request.path_params["tenant"])
        delivery = services.admin.redeliveries.redeliver(tenant, page.request.path_params["delivery_id"])
        if delivery.target == PREDICTION_TARGET or page.form.get("back") == "prediction":
            return page.redirect(_find_subject_path(delivery), notice="redelivered")
        return page.redirect(f"/endpoints/{tenant}/{delivery.target}", notice="redelivered")


def _find_subject_path(delivery: Delivery) -> str:
    """Return the page of what the event is about: a prediction, or a batch, whose ID is that of the job."""
    kind = "batches" if delivery.kind is EventKind.BATCH_COMPLETED else "predictions"
    return f"/{kind}/{delivery.tenant}/{delivery.job_id}"


def _parse_resend(page: Page, hours: int) -> RedeliverBody:
    """Return the time and the position of the form; a form that continues a resend has those of its start."""
    since = page.form.get("since") or format_timestamp(page.now - timedelta(hours=hours))
    return parse_body(RedeliverBody, {"since": since, "cursor": page.form.get("cursor") or None})


def _show_deliveries(
    page: Page,
    services: ConsoleServices,
    *,
    tenant: str | None = None,
    problem: dict[str, Any] | None = None,
) -> Response:
    tenant = tenant or choose_tenant(page)
    read = read_together(
        names=lambda: list_tenants_to_choose(page, services),
        endpoints=lambda: [] if tenant is None else _list_endpoints(services, tenant),
        pause=lambda: None if tenant is None else _read_pause(services, tenant),
        deliveries=lambda: (
            ([], None) if tenant is None else _list_deliveries(page, services, tenant, PREDICTION_TARGET)
        ),
    )
    rows, next_cursor = read["deliveries"]
    # Not those of a refused form, which has another address.
    given = {"tenant": tenant if page.signed_in_viewer.is_operator else None}
    return page.render(
        "deliveries.html",
        tenant=tenant,
        tenants=read["names"],
        endpoints=read["endpoints"],
        pause=read["pause"],
        rows=rows,
        first_url=page.url("/deliveries", **given),
        next_url=page.url("/deliveries", **given, cursor=next_cursor) if next_cursor else None,
        event_kinds=[kind.value for kind in EventKind if kind is not EventKind.TEST],
        problem=problem,
    )


def _read_pause(services: ConsoleServices, tenant: str) -> Pause | None:
    """Return what holds the webhooks of a tenant."""
    return find_pause(services.admin.pauses.read(PausedActivity.DELIVERIES), tenant)


def _list_endpoints(services: ConsoleServices, tenant: str) -> list[dict[str, Any]]:
    endpoints = services.endpoints.list_all(tenant)
    healths = map_in_parallel(services.endpoints.get_health, endpoints)
    return [
        {**build_endpoint_view(endpoint), "health": build_health_view(health)}
        for endpoint, health in zip(endpoints, healths, strict=True)
    ]


def _list_deliveries(
    page: Page, services: ConsoleServices, tenant: str, target: str
) -> tuple[list[dict[str, Any]], str | None]:
    """Return the newest deliveries to a target, and the cursor of the next page."""
    after = decode_cursor(page.request.query.get("cursor"), DeliveryPosition.parse)
    part = services.deliveries.list_by_target(
        tenant, target, since=None, after=after, limit=_PAGE_SIZE, oldest_first=False
    )
    position = part.next_position
    cursor = None if position is None else encode_cursor(position)
    return build_delivery_rows(part.deliveries, page.now), cursor


def _find_endpoint(page: Page, services: ConsoleServices) -> Endpoint:
    tenant = page.signed_in_viewer.require_tenant(page.request.path_params["tenant"])
    endpoint_id = page.request.path_params["endpoint_id"]
    if endpoint_id == PREDICTION_TARGET:
        raise NotFoundError("no such endpoint")
    return services.endpoints.get(tenant, endpoint_id)


def _audit_update(services: ConsoleServices, endpoint: Endpoint) -> Any:
    return services.audit.change(
        AuditAction.UPDATE_ENDPOINT,
        f"endpoints/{endpoint.id}",
        tenant=endpoint.tenant,
        before=build_endpoint_view(endpoint),
    )


def _return_to(page: Page, endpoint: Endpoint, notice: str) -> Response:
    return page.redirect(f"/endpoints/{endpoint.tenant}/{endpoint.id}", notice=notice)
