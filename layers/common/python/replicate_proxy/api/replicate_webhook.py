"""`POST /webhooks/replicate`: receive Replicate's webhooks about our predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy.api.http import json_response

if TYPE_CHECKING:
    from replicate_proxy.api.http import Request, Response
    from replicate_proxy.api.routing import Router
    from replicate_proxy.services.replicate_webhook import ReplicateWebhookHandler


def add_replicate_webhook_routes(router: Router, handler: ReplicateWebhookHandler) -> None:
    """Register the route that Replicate calls."""

    @router.post("/webhooks/replicate")
    def receive_webhook(request: Request) -> Response:
        """Return 200 once the event is on the bus; until then Replicate retries."""
        handler.handle_webhook(request.headers, request.query, request.body)
        return json_response(200, {"received": True})
