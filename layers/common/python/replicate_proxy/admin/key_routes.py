"""/admin/keys"""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy.admin.bodies import CreateKey, RotateKey, UpdateKey
from replicate_proxy.admin.ports import Stage
from replicate_proxy.admin.views import key_view
from replicate_proxy.auth.scopes import Scope
from replicate_proxy.clock import iso
from replicate_proxy.validation import checked
from replicate_proxy.web import json_response

if TYPE_CHECKING:
    from replicate_proxy.admin.keys import KeyService
    from replicate_proxy.web import Request, Response, Routes

__all__ = ["add_key_routes", "stage_of"]


def add_key_routes(routes: Routes, keys: KeyService) -> None:
    @routes.post("/admin/keys")
    def create(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        key, text = keys.create(checked(CreateKey, request.json()), stage_of(request))
        return json_response(201, {**key_view(key), "key": str(text)})

    @routes.get("/admin/keys")
    def list_keys(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        found = keys.list(tenant=request.query.get("tenant"))
        return json_response(200, {"results": [key_view(key) for key in found]})

    @routes.get("/admin/keys/{id}")
    def get(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        return json_response(200, key_view(keys.get(request.params["id"])))

    @routes.patch("/admin/keys/{id}")
    def update(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        wanted = checked(UpdateKey, request.json())
        return json_response(200, key_view(keys.update(request.params["id"], wanted, stage_of(request))))

    @routes.post("/admin/keys/{id}/rotate")
    def rotate(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        wanted = checked(RotateKey, request.json() if request.body else {})
        key, text = keys.rotate(request.params["id"], wanted, stage_of(request))
        return json_response(200, {**key_view(key), "key": str(text)})

    @routes.delete("/admin/keys/{id}")
    def revoke(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        key, effective = keys.revoke(request.params["id"], stage_of(request))
        return json_response(200, {**key_view(key), "effective_at": iso(effective)})


def stage_of(request: Request) -> Stage:
    """The stage whose callers and caches a change concerns: the one that the change came through."""
    return Stage(str(request.context.get("apiId", "")), str(request.context.get("stage", "")))
