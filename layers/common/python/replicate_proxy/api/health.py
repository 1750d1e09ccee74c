"""Routes without a caller: `GET /health`, and the CORS preflight of every path."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy import __version__
from replicate_proxy.api.http import json_response

if TYPE_CHECKING:
    from replicate_proxy.api.http import Request, Response
    from replicate_proxy.api.routing import Router


def add_health_routes(router: Router) -> None:
    """Register `GET /health` and `OPTIONS` for every path."""

    @router.get("/health")
    def get_health(_: Request) -> Response:
        return json_response(200, {"status": "ok", "version": __version__})

    @router.add("OPTIONS", "/")
    @router.add("OPTIONS", "/{proxy+}")
    def handle_preflight(_: Request) -> Response:
        """Return an empty response, to which the router adds the CORS headers."""
        return json_response(204, None)
