"""Pages of bulk operations: choose and count, confirm, progress, cancel, and the list. For operators only."""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING, Any

from replicate_proxy.api.admin.bulk_operations import build_operation_view, parse_operation_id
from replicate_proxy.api.admin.job_filters import FILTER_PARAMETERS, parse_filter_fields
from replicate_proxy.api.pagination import decode_id_cursor, encode_cursor
from replicate_proxy.console.page import describe_error
from replicate_proxy.console.reads import list_tenant_names
from replicate_proxy.errors import ApiError, field_error
from replicate_proxy.jobs.model import EndReason, JobStatus
from replicate_proxy.operations.bulk.model import MAX_JOBS, BulkAction, describe_filter
from replicate_proxy.operations.bulk.service import IdempotencyKey

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicate_proxy.api.http import Response
    from replicate_proxy.console.page import Page
    from replicate_proxy.console.pages_router import PageRouter
    from replicate_proxy.console.services import ConsoleServices

_OPERATIONS = "/bulk-operations"
_OPERATION = f"{_OPERATIONS}/{{id}}"
_PAGE_SIZE = 20
_MAX_COUNT_DIGITS = 9
_ACTION_NAMES = {
    BulkAction.RETRY: "Retry failed and canceled ones",
    BulkAction.CANCEL: "Cancel unfinished ones",
    BulkAction.REDELIVER: "Send their webhooks again",
    BulkAction.HARVEST: "Fetch missing files again",
    BulkAction.DELETE: "Delete those that have ended",
}


def add_bulk_operation_pages(pages: PageRouter, services: ConsoleServices) -> None:
    """Register the pages of bulk operations."""
    operations = services.admin.bulk

    @pages.get(_OPERATIONS, operator=True)
    def list_operations(page: Page) -> Response:
        before_id = decode_id_cursor(page.request.query.get("cursor"))
        found = operations.list_newest(before_id=before_id, limit=_PAGE_SIZE + 1)
        shown = [build_operation_view(operation) for operation in found[:_PAGE_SIZE]]
        has_more = len(found) > _PAGE_SIZE
        next_url = page.url_with(cursor=encode_cursor((shown[-1]["id"],))) if has_more else None
        return page.render("bulk_operations.html", operations=shown, next_url=next_url)

    @pages.get(f"{_OPERATIONS}/new", operator=True)
    def choose(page: Page) -> Response:
        return _show_choice(page, services, page.request.query)

    @pages.post(_OPERATIONS, operator=True)
    def start(page: Page) -> Response:
        names = ("action", "expected_count", "idempotency_key", *FILTER_PARAMETERS)
        values = {name: page.form.get(name) for name in names}

        def change() -> Response:
            action, job_filter = _parse_action(values), parse_filter_fields(values, page.now)
            result = operations.start(
                action, job_filter, _parse_count(values), idempotency_key=_parse_key(values)
            )
            return page.redirect(f"{_OPERATIONS}/{result.operation.id}", notice="bulk_started")

        return page.attempt(change, lambda problem: _show_choice(page, services, values, problem))

    @pages.get(_OPERATION, operator=True)
    def show_operation(page: Page) -> Response:
        return _show_operation(page, services)

    @pages.post(f"{_OPERATION}/cancel", operator=True)
    def cancel(page: Page) -> Response:
        def change() -> Response:
            operation = operations.cancel(parse_operation_id(page.request))
            return page.redirect(f"{_OPERATIONS}/{operation.id}", notice="bulk_canceled")

        return page.attempt(change, lambda problem: _show_operation(page, services, problem))


def _show_choice(
    page: Page,
    services: ConsoleServices,
    values: Mapping[str, str],
    problem: dict[str, Any] | None = None,
) -> Response:
    """Show the filter. Once an action is chosen, the page asks for the count, which can take seconds."""
    operations, preview, fixed = services.admin.bulk, None, None
    if values.get("action"):
        try:
            action, job_filter = _parse_action(values), parse_filter_fields(values, page.now)
            if problem or values.get("count"):
                preview = operations.preview(action, job_filter)
            fixed = describe_filter(preview.filter if preview else operations.narrow(action, job_filter))
        except ApiError as error:
            problem = problem or describe_error(error)
    return page.render(
        "bulk_operation_new.html",
        values=values,
        preview=preview,
        fixed=fixed,
        problem=problem,
        actions=_ACTION_NAMES,
        statuses=[*JobStatus, "unfinished"],
        classes=list(EndReason),
        tenants=list_tenant_names(services),
        max_jobs=MAX_JOBS,
        idempotency_key=secrets.token_hex(16),
    )


def _show_operation(page: Page, services: ConsoleServices, problem: dict[str, Any] | None = None) -> Response:
    operation = build_operation_view(services.admin.bulk.get(parse_operation_id(page.request)))
    return page.render(
        "bulk_operation.html",
        operation=operation,
        percent=100 * (operation["matched"] - operation["remaining"]) // operation["matched"],
        problem=problem,
    )


def _parse_action(values: Mapping[str, str]) -> BulkAction:
    name = values.get("action", "")
    if name not in BulkAction:
        raise field_error("action", f"must be one of {', '.join(BulkAction)}")
    return BulkAction(name)


def _parse_count(values: Mapping[str, str]) -> int:
    text = values.get("expected_count", "")
    if not text.isdecimal() or len(text) > _MAX_COUNT_DIGITS:
        raise field_error("expected_count", "must be the number of predictions that match")
    return int(text)


def _parse_key(values: Mapping[str, str]) -> IdempotencyKey | None:
    """Return the key of the form, which makes a second click start nothing."""
    key = values.get("idempotency_key")
    if not key:
        return None
    text = repr(sorted((name, value) for name, value in values.items()))
    return IdempotencyKey(key, hashlib.sha256(text.encode()).hexdigest())
