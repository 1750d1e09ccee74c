"""Names of tenants in paths and query parameters of the admin API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy.auth.tenants import TENANT_NAME_RULE, is_tenant_name
from replicate_proxy.errors import field_error, parameter_error

if TYPE_CHECKING:
    from replicate_proxy.api.http import Request


def parse_tenant_name(request: Request) -> str:
    """Return the `name` in the path. Raises a 422 ApiError if no tenant can have it."""
    name = request.path_params["name"]
    if not is_tenant_name(name):
        raise field_error("name", TENANT_NAME_RULE)
    return name


def parse_tenant_parameter(request: Request) -> str | None:
    """Return the parameter `tenant`, None without one. Raises a 400 ApiError."""
    tenant = request.query.get("tenant") or None
    if tenant is not None and not is_tenant_name(tenant):
        raise parameter_error("tenant", TENANT_NAME_RULE)
    return tenant
