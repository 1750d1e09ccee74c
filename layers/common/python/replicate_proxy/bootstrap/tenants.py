"""The settings of tenants for functions that need them with every job."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from replicate_proxy.auth.tenants import CachedTenants
from replicate_proxy.aws.clients import get_client
from replicate_proxy.aws.tenant_store import DynamoTenantStore
from replicate_proxy.bootstrap.environment import clock, env
from replicate_proxy.settings import ACCESS_TABLE

if TYPE_CHECKING:
    from replicate_proxy.auth.tenants import Tenant


@cache
def build_cached_tenants() -> CachedTenants:
    return CachedTenants(DynamoTenantStore(get_client("dynamodb"), env[ACCESS_TABLE]), clock)


def find_tenant(name: str) -> Tenant:
    """Return the tenant's settings.

    Raises RetryableError if they were not read in the last five minutes: nothing may be kept for longer than
    promised, or accepted of a tenant that is being erased.
    """
    return build_cached_tenants().get_known(name)
