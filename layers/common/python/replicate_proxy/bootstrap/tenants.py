"""The settings of tenants for functions that need them with every job."""

from __future__ import annotations

from functools import cache

from replicate_proxy.auth.tenants import CachedTenants
from replicate_proxy.aws.clients import get_client
from replicate_proxy.aws.tenant_store import DynamoTenantStore
from replicate_proxy.bootstrap.environment import clock, env
from replicate_proxy.settings import ACCESS_TABLE


@cache
def build_cached_tenants() -> CachedTenants:
    return CachedTenants(DynamoTenantStore(get_client("dynamodb"), env[ACCESS_TABLE]), clock)


def find_retention(tenant: str) -> int | None:
    """Return how many seconds the tenant's predictions are kept, None for the default of the stack.

    Raises RetryableError if the settings were never read: nothing may be kept for longer than promised.
    """
    return build_cached_tenants().get_known(tenant).retention_seconds
