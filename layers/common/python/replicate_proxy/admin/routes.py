"""The admin API as one callable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replicate_proxy.admin.key_routes import add_key_routes
from replicate_proxy.admin.paths import with_resource
from replicate_proxy.web import Routes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicate_proxy.admin.keys import KeyService
    from replicate_proxy.web import Response

__all__ = ["AdminApi"]

_RESOURCES = (
    "/admin/keys",
    "/admin/keys/{id}",
    "/admin/keys/{id}/rotate",
)


class AdminApi:
    """Dispatches /admin/… events to the services behind them."""

    def __init__(self, *, keys: KeyService) -> None:
        self._routes = Routes()
        add_key_routes(self._routes, keys)

    def handle(self, event: Mapping[str, Any]) -> Response:
        return self._routes.handle(with_resource(event, _RESOURCES))
