"""GET /v1/models, /v1/collections, /v1/hardware, /v1/account, /v1/search and what lies below them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy.api.http import Request, Response, Router
from replicate_proxy.auth.principal import Scope
from replicate_proxy.services.catalog import CATALOG_ROUTES, CatalogRoute

if TYPE_CHECKING:
    from replicate_proxy.services.catalog import Catalog


def catalog_routes(catalog: Catalog, *, public_base_url: str = "") -> Router:
    """A route for each entry of the allow-list."""
    routes = Router()
    for entry in CATALOG_ROUTES:
        _add(routes, entry, catalog, public_base_url)
    return routes


def _add(routes: Router, entry: CatalogRoute, catalog: Catalog, public_base_url: str) -> None:
    @routes.get(entry.resource)
    def pass_through(request: Request) -> Response:
        request.principal.require(Scope.PREDICTIONS_READ)
        reply = catalog.get(entry, request.path_params, request.query, public_base_url or request.base_url)
        cache = f"private, max-age={reply.max_age_seconds}" if reply.max_age_seconds > 0 else "no-store"
        return {
            "statusCode": reply.status,
            "headers": {"content-type": reply.content_type, "cache-control": cache},
            "body": reply.body,
            "isBase64Encoded": False,
        }
