"""Routes of the erasure of a tenant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replicate_proxy.api.admin.bodies import EraseTenantBody
from replicate_proxy.api.admin.stage import get_stage
from replicate_proxy.api.http import json_response
from replicate_proxy.api.validation import parse_body
from replicate_proxy.auth.principal import Scope
from replicate_proxy.auth.tenants import is_tenant_name
from replicate_proxy.clock import format_optional_timestamp, format_timestamp
from replicate_proxy.errors import NotFoundError
from replicate_proxy.operations.erasure.model import REPORT_RETENTION, ErasureStatus

if TYPE_CHECKING:
    from replicate_proxy.api.http import Request, Response
    from replicate_proxy.api.routing import Router
    from replicate_proxy.operations.erasure.model import Erasure
    from replicate_proxy.operations.erasure.service import ErasureService

# What an erasure leaves, and why: docs/security.md.
_KEPT = (
    ("usage", "The sums by day, model and key, for bills: they hold counts and amounts"),
    ("audit", "The audit trail cannot be changed: it names the tenant and IDs, and holds no content"),
    ("bulk_operations", "Records of operators for JobRetentionDays: they name the tenant and IDs"),
    ("dead_letters", "For at most 14 days, until an operator redrives or discards them"),
    ("event_archive", "Events of the bus for EventArchiveRetentionDays, if the archive is enabled"),
    ("logs", "Names and IDs for LogRetentionDays"),
    ("backups", "Point-in-time recovery of the tables, for 35 days"),
    ("model_entries", "Names of tenants that operators have written into model entries"),
)


def add_erasure_routes(router: Router, erasures: ErasureService) -> None:
    """Register the routes of erasures."""

    @router.delete("/admin/tenants/{name}")
    def erase_tenant(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        body = parse_body(EraseTenantBody, request.json_or_empty())
        erasure, is_started = erasures.start(_parse_name(request), body.confirm, get_stage(request))
        location = f"{request.base_url}/admin/tenants/{erasure.tenant}/erasure"
        return json_response(202 if is_started else 200, build_erasure_view(erasure), {"location": location})

    @router.get("/admin/tenants/{name}/erasure")
    def get_erasure(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        return json_response(200, build_erasure_view(erasures.get(_parse_name(request))))


def build_erasure_view(erasure: Erasure) -> dict[str, Any]:
    """Return the progress of an erasure, which is its report in the end."""
    completed_at = erasure.completed_at
    return {
        "tenant": erasure.tenant,
        "status": erasure.status.value,
        "step": erasure.step.value if erasure.status is ErasureStatus.RUNNING else None,
        "unfinished_predictions": erasure.unfinished,
        "removed": dict(sorted(erasure.removed.items())),
        "kept": [{"what": what, "why": why} for what, why in _KEPT],
        "tombstones_until": format_optional_timestamp(erasure.tombstones_until),
        "started_at": format_timestamp(erasure.started_at),
        "emptied_at": format_optional_timestamp(erasure.emptied_at),
        "completed_at": format_optional_timestamp(completed_at),
        "next_step_at": None if completed_at else format_timestamp(erasure.due_at),
        "report_until": format_optional_timestamp(completed_at + REPORT_RETENTION if completed_at else None),
        "started_by": {"key_id": erasure.key_id, "source": erasure.source.value},
        "correlation_id": erasure.correlation_id,
    }


def _parse_name(request: Request) -> str:
    name = request.path_params["name"]
    if not is_tenant_name(name):
        raise NotFoundError("no such tenant")
    return name
