"""Read-only routes about models, collections, hardware, account and search, passed through to Replicate."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from replicate_proxy.auth.principal import Scope
from replicate_proxy.errors import ApiError
from replicate_proxy.jobs.model import SubmissionKind
from replicate_proxy.model_entries.entry import parse_target
from replicate_proxy.services.catalog import CATALOG_ROUTES, build_unreadable_error
from replicate_proxy.strict_json import parse_strict_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicate_proxy.api.http import Request, Response
    from replicate_proxy.api.routing import Router
    from replicate_proxy.model_entries.directory import EntryDirectory
    from replicate_proxy.model_entries.entry import ModelEntry
    from replicate_proxy.services.catalog import Catalog, CatalogRoute


_MODEL_PATH = "/v1/models/{owner}/{name}"


def add_catalog_routes(router: Router, catalog: Catalog, entries: EntryDirectory) -> None:
    """Register one route for each entry of the allow-list."""
    for route in CATALOG_ROUTES:
        _add_route(router, route, catalog, entries)


def _add_route(router: Router, route: CatalogRoute, catalog: Catalog, entries: EntryDirectory) -> None:
    @router.get(route.resource)
    def pass_through(request: Request) -> Response:
        principal = request.principal.require(Scope.PREDICTIONS_READ)
        entry = _find_alias(route, request, principal.tenant, entries)
        path_params = _replace_alias(request.path_params, entry)
        response = catalog.get(route, path_params, request.query, request.base_url, principal.tenant)
        max_age = response.max_age_seconds
        is_model = route.resource == _MODEL_PATH and response.status == HTTPStatus.OK
        return {
            "statusCode": response.status,
            "headers": {
                "content-type": response.content_type,
                "cache-control": f"private, max-age={max_age}" if max_age > 0 else "no-store",
            },
            "body": _describe_alias(response.body, entry) if entry and is_model else response.body,
            "isBase64Encoded": False,
        }


def _find_alias(
    route: CatalogRoute, request: Request, tenant: str, entries: EntryDirectory
) -> ModelEntry | None:
    """Return the entry of a name for another model. The tenants of any entry are checked as for a prediction.

    An entry of a model itself may limit a private model of the account, which others must not read about.
    """
    if not route.resource.startswith(_MODEL_PATH):
        return None
    entry = entries.find(f"{request.path_params['owner']}/{request.path_params['name']}")
    if entry is None:
        return None
    entry.check_tenant(tenant)
    return entry if entry.is_alias else None


def _replace_alias(path_params: Mapping[str, str], entry: ModelEntry | None) -> Mapping[str, str]:
    """Return the path parameters with the model that runs."""
    if entry is None:
        return path_params
    target = parse_target(entry.target)
    if target.kind is SubmissionKind.DEPLOYMENT or not target.model_name:
        raise ApiError(
            404, "Not found", f"{entry.name} runs {entry.target}, of which Replicate describes no model"
        )
    owner, _, name = target.model_name.partition("/")
    return {**path_params, "owner": owner, "name": name}


def _describe_alias(body: str, entry: ModelEntry) -> str:
    """Return the model that runs under the name of the entry, with its description if it has one."""
    owner, _, name = entry.name.partition("/")
    model = _parse_model(body)
    description = entry.description or model.get("description")
    return json.dumps({**model, "owner": owner, "name": name, "description": description}, ensure_ascii=False)


def _parse_model(body: str) -> dict[str, Any]:
    """Return the model in Replicate's response. Raises a 502 ApiError if it is no JSON object."""
    try:
        model = parse_strict_json(body.encode())
    except (ValueError, RecursionError):
        model = None
    if not isinstance(model, dict):
        raise build_unreadable_error()
    return model
