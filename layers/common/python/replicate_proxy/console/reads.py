"""Reads that several pages make, some of them at the same time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replicate_proxy.auth.tenants import is_tenant_name
from replicate_proxy.errors import NotFoundError, ProxyError
from replicate_proxy.observability import logger
from replicate_proxy.parallel import map_in_parallel

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.console.page import Page
    from replicate_proxy.console.services import ConsoleServices
    from replicate_proxy.services.batch_reader import BatchState


def read_together(**reads: Callable[[], Any]) -> dict[str, Any]:
    """Return the results by name. Raises what the first failed read raises."""
    return dict(zip(reads, map_in_parallel(lambda name: reads[name](), list(reads)), strict=True))


def read_parts(**reads: Callable[[], Any]) -> dict[str, Any]:
    """Return the results by name, None for a part of the page that could not be read."""

    def read(name: str) -> Any:
        try:
            return reads[name]()
        except ProxyError as error:
            logger.warning("part of a page could not be read", part=name, reason=str(error))
            return None

    return dict(zip(reads, map_in_parallel(read, list(reads)), strict=True))


def find_batch(page: Page, services: ConsoleServices) -> BatchState:
    """Return the batch of the address. Raises NotFoundError, also for another tenant's."""
    tenant = page.signed_in_viewer.require_tenant(page.request.path_params["tenant"])
    if not is_tenant_name(tenant):
        raise NotFoundError("no such batch")
    return services.batches.get(tenant, page.request.path_params["id"])


def list_tenant_names(services: ConsoleServices) -> list[str]:
    """Return the tenants that have settings or a key."""
    read = read_together(tenants=services.admin.tenants.list, keys=services.admin.keys.list)
    return sorted({tenant.name for tenant in read["tenants"]} | {key.tenant for key in read["keys"]})
