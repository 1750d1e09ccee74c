"""The page of the audit trail: what was changed by whom, and whether the records are unchanged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replicate_proxy.api.admin.audit import build_audit_view, parse_subject
from replicate_proxy.api.pagination import decode_cursor, encode_cursor
from replicate_proxy.audit.model import AuditAction, is_position

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicate_proxy.api.http import Response
    from replicate_proxy.audit.model import AuditRecord
    from replicate_proxy.console.page import Page
    from replicate_proxy.console.pages_router import PageRouter
    from replicate_proxy.console.services import ConsoleServices

_PAGE_SIZE = 40
_MAX_VERIFIED_PAGES = 10
_PAGES: Mapping[str, str] = {
    "jobs": "/predictions",
    "batches": "/batches",
    "queues": "/dead-letters",
    "models": "/models",
    "bulk-operations": "/bulk-operations",
}
"""Where the pages of a record's target are, by its kind."""


def add_audit_page(pages: PageRouter, services: ConsoleServices) -> None:
    """Register the page of the audit trail, for operators only."""
    trail = services.admin.audit

    @pages.get("/audit", operator=True)
    def list_records(page: Page) -> Response:
        position = decode_cursor(page.request.query.get("cursor"), _require_position)
        part = trail.list_records(parse_subject(page.request), before_position=position, limit=_PAGE_SIZE)
        following = part.next_position
        return page.render(
            "audit.html",
            records=[_build_row(record) for record in part.records],
            actions=[action.value for action in AuditAction],
            next_url=None if following is None else page.url_with(cursor=encode_cursor((following,))),
            verification=_verify(services) if page.request.query.get("verify") else None,
        )


def _build_row(record: AuditRecord) -> dict[str, Any]:
    return {**build_audit_view(record), "path": find_target_path(record.target, record.tenant)}


def find_target_path(target: str, tenant: str | None) -> str | None:
    """Return the page of what a record is about, None if there is none."""
    kind, _, rest = target.partition("/")
    if not rest or (kind == "endpoints" and tenant is None):
        return None
    if kind == "tenants":
        name, _, part = rest.partition("/")
        return f"/tenants/{name}/erasure" if part == "erasure" else f"/tenants/{name}"
    folder = f"/endpoints/{tenant}" if kind == "endpoints" else _PAGES.get(kind)
    return f"{folder}/{rest}" if folder else None


def _verify(services: ConsoleServices) -> dict[str, Any]:
    """Verify the chain from its beginning, as far as the time of a page allows."""
    position, checked = None, 0
    for _ in range(_MAX_VERIFIED_PAGES):
        result = services.admin.audit.verify(after_position=position)
        checked += result.checked
        position = result.next_position
        if not result.is_valid or position is None:
            break
    return {
        "is_valid": result.is_valid,
        "checked": checked,
        "error": result.error,
        "sequence": result.sequence,
        "is_complete": position is None,
        "head": result.head,
    }


def _require_position(text: str) -> str:
    if not is_position(text):
        raise ValueError(text)
    return text
