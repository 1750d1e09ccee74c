"""Routes of API keys."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from replicate_proxy.api.admin.bodies import CreateKeyBody, RotateKeyBody, UpdateKeyBody
from replicate_proxy.api.admin.stage import get_stage
from replicate_proxy.api.http import json_response
from replicate_proxy.api.validation import parse_body
from replicate_proxy.auth.principal import Scope
from replicate_proxy.clock import format_timestamp
from replicate_proxy.operations.keys import describe_key

if TYPE_CHECKING:
    from replicate_proxy.api.http import Request, Response
    from replicate_proxy.api.routing import Router
    from replicate_proxy.operations.keys import KeyService


def add_key_routes(router: Router, keys: KeyService) -> None:
    """Register the routes of API keys. A key's secret is in the response that creates or rotates it, once."""

    @router.post("/admin/keys")
    def create_key(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        key, secret = keys.create(parse_body(CreateKeyBody, request.json()), get_stage(request))
        return json_response(201, {**describe_key(key), "key": str(secret)})

    @router.get("/admin/keys", query=("tenant",))
    def list_keys(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        results = [describe_key(key) for key in keys.list(tenant=request.query.get("tenant"))]
        return json_response(200, {"results": results})

    @router.get("/admin/keys/{id}")
    def get_key(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        return json_response(200, describe_key(keys.get(request.path_params["id"])))

    @router.patch("/admin/keys/{id}")
    def update_key(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        body = parse_body(UpdateKeyBody, request.json())
        key = keys.update(request.path_params["id"], body, get_stage(request))
        return json_response(200, describe_key(key))

    @router.post("/admin/keys/{id}/rotate")
    def rotate_key(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        body = parse_body(RotateKeyBody, request.json_or_empty())
        overlap = timedelta(seconds=body.overlap_seconds)
        key, secret = keys.rotate(request.path_params["id"], overlap, get_stage(request))
        return json_response(200, {**describe_key(key), "key": str(secret)})

    @router.delete("/admin/keys/{id}")
    def revoke_key(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        key, effective_at = keys.revoke(request.path_params["id"], get_stage(request))
        return json_response(200, {**describe_key(key), "effective_at": format_timestamp(effective_at)})
