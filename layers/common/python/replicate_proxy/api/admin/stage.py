"""The API Gateway stage that an admin request came through."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy.operations.ports import Stage

if TYPE_CHECKING:
    from replicate_proxy.api.http import Request


def get_stage(request: Request) -> Stage:
    """Return the stage whose usage plans and authorizer cache the request changes."""
    return Stage(str(request.context.get("apiId", "")), str(request.context.get("stage", "")))
