"""Operations of Replicate that are refused: trainings, and the management of models and deployments.

They change the account of the operator, which all tenants share. A 405 with a reason tells callers more than
the 404 of an unknown path, and unlike a 501 it is not repeated: Replicate's JavaScript client repeats every
GET that gets a 5xx.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicate_proxy.errors import ApiError

if TYPE_CHECKING:
    from replicate_proxy.api.http import Request, Response
    from replicate_proxy.api.routing import Router

_AT_REPLICATE = "at replicate.com, or at api.replicate.com with a Replicate API token"
_TRAININGS = (
    f"Trainings are not available here. Train {_AT_REPLICATE}, then run the new version with "
    "POST /v1/predictions"
)
_MODELS = (
    f"Models are read-only here. Manage them {_AT_REPLICATE}; "
    "GET /v1/models/{owner}/{name} reads one and POST /v1/predictions runs one"
)
_DEPLOYMENTS = (
    f"Deployments are read-only here. Manage them {_AT_REPLICATE}; GET /v1/deployments/{{owner}}/{{name}} "
    "reads one and POST /v1/deployments/{owner}/{name}/predictions runs one"
)


@dataclass(frozen=True, slots=True)
class RefusedOperation:
    """One operation of Replicate; `detail` says why it is refused and what to use instead."""

    method: str
    resource: str
    detail: str


# Source: Replicate's OpenAPI document. Its QUERY /models is missing, because API Gateway has no such method.
REFUSED_OPERATIONS = (
    RefusedOperation("POST", "/v1/models", _MODELS),
    RefusedOperation("PATCH", "/v1/models/{owner}/{name}", _MODELS),
    RefusedOperation("DELETE", "/v1/models/{owner}/{name}", _MODELS),
    RefusedOperation("DELETE", "/v1/models/{owner}/{name}/versions/{version}", _MODELS),
    RefusedOperation("POST", "/v1/deployments", _DEPLOYMENTS),
    RefusedOperation("PATCH", "/v1/deployments/{owner}/{name}", _DEPLOYMENTS),
    RefusedOperation("DELETE", "/v1/deployments/{owner}/{name}", _DEPLOYMENTS),
    RefusedOperation("POST", "/v1/models/{owner}/{name}/versions/{version}/trainings", _TRAININGS),
    RefusedOperation("GET", "/v1/trainings", _TRAININGS),
    RefusedOperation("GET", "/v1/trainings/{training}", _TRAININGS),
    RefusedOperation("POST", "/v1/trainings/{training}/cancel", _TRAININGS),
)


def add_refused_routes(router: Router) -> None:
    """Register a route for every refused operation, after the other methods of their paths."""
    methods: dict[str, list[str]] = {}
    for method, resource in router.routes:
        methods.setdefault(resource, []).append(method)
    for operation in REFUSED_OPERATIONS:
        # A preflight is answered on every path.
        allowed = ", ".join([*sorted(methods.get(operation.resource, ())), "OPTIONS"])
        _add_route(router, operation, allowed)


def _add_route(router: Router, operation: RefusedOperation, allowed: str) -> None:
    @router.add(operation.method, operation.resource)
    def refuse(_: Request) -> Response:
        raise ApiError(405, "Operation not available", operation.detail, headers={"allow": allowed})
