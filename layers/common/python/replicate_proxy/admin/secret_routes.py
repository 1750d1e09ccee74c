"""/admin/webhook-secret"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from replicate_proxy.auth.scopes import Scope
from replicate_proxy.web import json_response

if TYPE_CHECKING:
    from replicate_proxy.admin.webhook_secret import WebhookSecret
    from replicate_proxy.web import Request, Response, Routes

__all__ = ["add_secret_routes"]


def add_secret_routes(routes: Routes, secret: WebhookSecret) -> None:
    @routes.post("/admin/webhook-secret/refresh")
    def refresh(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        return json_response(200, asdict(secret.refresh()))
