"""The address that Replicate calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy.api.http import Request, Response, Router, json_response

if TYPE_CHECKING:
    from replicate_proxy.services.replicate_webhook import ReplicateWebhookHandler


def webhook_routes(receiver: ReplicateWebhookHandler) -> Router:
    """`POST /webhooks/replicate`: 200 once the event is on the bus, so that Replicate may forget it."""
    routes = Router()

    @routes.post("/webhooks/replicate")
    def receive(request: Request) -> Response:
        receiver.handle_webhook(request.headers, request.query, request.body)
        return json_response(200, {"received": True})

    return routes
