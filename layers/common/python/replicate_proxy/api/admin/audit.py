"""Routes of the audit trail: list and export its records, and verify its chain."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from replicate_proxy.api.http import json_response, text_response
from replicate_proxy.api.pagination import build_page, decode_cursor
from replicate_proxy.api.query_parameters import parse_limit, parse_time_parameter
from replicate_proxy.audit.model import AuditAction, AuditFilter, is_position
from replicate_proxy.auth.principal import Scope
from replicate_proxy.clock import format_optional_timestamp
from replicate_proxy.errors import parameter_error

if TYPE_CHECKING:
    from replicate_proxy.api.http import Request, Response
    from replicate_proxy.api.routing import Router
    from replicate_proxy.audit.model import AuditRecord
    from replicate_proxy.audit.trail import AuditTrail, Verification


_DEFAULT_LIMIT = 50
# A record has at most 50 kB, nearly all have less than 2 kB; a response of Lambda has 6 MB.
_MAX_LIMIT = 100
_MAX_EXPORT_LIMIT = 1000
_MAX_EXPORT_CHARACTERS = 1_500_000
# DynamoDB refuses to query an index by more (Amazon DynamoDB, "Constraints": partition key length).
_MAX_INDEXED_BYTES = 2048
_JSON_STATES = ("parameters", "before", "after")
_PARAMETERS = ("action", "key_id", "tenant", "target", "since", "until", "format", "limit", "cursor")


def add_audit_routes(router: Router, trail: AuditTrail) -> None:
    """Register the routes of the audit trail."""

    @router.get("/admin/audit", query=_PARAMETERS)
    def list_audit_records(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        audit_filter, position = _parse_filter(request), _parse_cursor(request)
        if _is_export(request):
            return _export(request, trail, audit_filter, position)
        limit = parse_limit(request, default=_DEFAULT_LIMIT, maximum=_MAX_LIMIT)
        page = trail.list_records(audit_filter, before_position=position, limit=limit)
        results = [build_audit_view(record) for record in page.records]
        return json_response(200, build_page(request, results, _to_cursor(page.next_position)))

    @router.get("/admin/audit/verification", query=("cursor",))
    def verify_audit_trail(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        return json_response(
            200, _build_verification_view(request, trail.verify(after_position=_parse_cursor(request)))
        )


def build_audit_view(record: AuditRecord) -> dict[str, Any]:
    """Return the record with its states as JSON."""
    values = asdict(record)
    return {**values, **{name: json.loads(values[name]) for name in _JSON_STATES}}


def _export(request: Request, trail: AuditTrail, audit_filter: AuditFilter, position: str | None) -> Response:
    """Return one record a line. The header Link names the next part, if there is one."""
    limit = parse_limit(request, default=_MAX_EXPORT_LIMIT, maximum=_MAX_EXPORT_LIMIT)
    lines: list[str] = []
    characters = 0
    while True:
        page = trail.list_records(
            audit_filter, before_position=position, limit=min(_MAX_LIMIT, limit - len(lines))
        )
        added = [f"{json.dumps(build_audit_view(record), ensure_ascii=False)}\n" for record in page.records]
        lines += added
        characters += sum(map(len, added))
        position = page.next_position
        if position is None or len(lines) >= limit or characters > _MAX_EXPORT_CHARACTERS or not added:
            break
    response = text_response(200, "".join(lines), "application/x-ndjson")
    url = build_page(request, (), _to_cursor(position))["next"]
    headers = {**response["headers"], "link": f'<{url}>; rel="next"'} if url else response["headers"]
    return {**response, "headers": headers}


def _build_verification_view(request: Request, verification: Verification) -> dict[str, Any]:
    """Return the result. The client follows `next` to verify the rest of the chain."""
    page = build_page(request, (), _to_cursor(verification.next_position))
    return {
        "valid": verification.is_valid,
        "checked": verification.checked,
        "error": verification.error or None,
        "sequence": verification.sequence,
        "head": asdict(verification.head),
        "next": page["next"],
    }


def _parse_filter(request: Request) -> AuditFilter:
    return replace(
        parse_subject(request),
        since=format_optional_timestamp(parse_time_parameter(request, "since")),
        until=format_optional_timestamp(parse_time_parameter(request, "until")),
    )


def parse_subject(request: Request) -> AuditFilter:
    """Return the filter by action, key, tenant and target; empty parameters count as missing."""
    action = request.query.get("action") or None
    if action is not None and action not in AuditAction:
        raise parameter_error("action", f"must be one of {', '.join(AuditAction)}")
    return AuditFilter(
        action=action,
        key_id=_parse_indexed(request, "key_id"),
        tenant=_parse_indexed(request, "tenant"),
        target=_parse_indexed(request, "target"),
    )


def _parse_indexed(request: Request, name: str) -> str | None:
    text = request.query.get(name) or None
    if text is not None and len(text.encode()) > _MAX_INDEXED_BYTES:
        raise parameter_error(name, f"must have at most {_MAX_INDEXED_BYTES} bytes", error_type="too_long")
    return text


def _parse_cursor(request: Request) -> str | None:
    def require_position(text: str) -> str:
        if not is_position(text):
            raise ValueError(text)
        return text

    return decode_cursor(request.query.get("cursor"), require_position)


def _to_cursor(position: str | None) -> tuple[str] | None:
    return None if position is None else (position,)


def _is_export(request: Request) -> bool:
    name = request.query.get("format", "json")
    if name not in {"json", "jsonl"}:
        raise parameter_error("format", "must be json or jsonl")
    return name == "jsonl"
