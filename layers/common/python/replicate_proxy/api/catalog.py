"""Read-only routes about models, collections, hardware, account and search, passed through to Replicate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy.auth.principal import Scope
from replicate_proxy.services.catalog import CATALOG_ROUTES

if TYPE_CHECKING:
    from replicate_proxy.api.http import Request, Response
    from replicate_proxy.api.routing import Router
    from replicate_proxy.services.catalog import Catalog, CatalogRoute


def add_catalog_routes(router: Router, catalog: Catalog) -> None:
    """Register one route for each entry of the allow-list."""
    for route in CATALOG_ROUTES:
        _add_route(router, route, catalog)


def _add_route(router: Router, route: CatalogRoute, catalog: Catalog) -> None:
    @router.get(route.resource)
    def pass_through(request: Request) -> Response:
        request.principal.require(Scope.PREDICTIONS_READ)
        response = catalog.get(route, request.path_params, request.query, request.base_url)
        max_age = response.max_age_seconds
        return {
            "statusCode": response.status,
            "headers": {
                "content-type": response.content_type,
                "cache-control": f"private, max-age={max_age}" if max_age > 0 else "no-store",
            },
            "body": response.body,
            "isBase64Encoded": False,
        }
