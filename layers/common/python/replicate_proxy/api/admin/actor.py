"""Who sent an event to the admin API, for the audit trail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replicate_proxy.api.http import Request
from replicate_proxy.api.predictions.headers import parse_correlation_id
from replicate_proxy.audit.actor import acting_as
from replicate_proxy.audit.model import Actor, AuditSource

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicate_proxy.api.http import Response
    from replicate_proxy.api.routing import Router

# What the command line sends as its User-Agent. Any holder of an admin key could: the source is a hint.
CLI_USER_AGENT = "proxyctl"


def handle_as_actor(router: Router, event: Mapping[str, Any]) -> Response:
    """Let the router handle the event; the changes that it makes are recorded as made by its sender."""
    with acting_as(_build_actor(event)):
        return router.handle(event)


def _build_actor(event: Mapping[str, Any]) -> Actor:
    authorizer = (event.get("requestContext") or {}).get("authorizer") or {}
    request = Request.from_event({**event, "body": None})
    is_cli = request.headers.get("user-agent", "").startswith(CLI_USER_AGENT)
    return Actor(
        key_id=str(authorizer.get("key_id") or ""),
        source=AuditSource.CLI if is_cli else AuditSource.API,
        correlation_id=parse_correlation_id(request),
    )
