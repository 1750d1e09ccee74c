"""The authorize function: accepts or rejects callers."""

from __future__ import annotations

from replicate_proxy.auth.authorizer import Authorizer
from replicate_proxy.auth.stale_key_cache import MAX_STALE_AGE, StaleKeyCache
from replicate_proxy.aws.tenant_store import DynamoTenantStore
from tools.simulation.functions.components import DIGEST_KEY, Components
from tools.simulation.resources import Table

# As ReauthorizeEvery in template.yaml
AUTHORIZER_CACHE_SECONDS = 60.0


def build_authorizer(components: Components) -> Authorizer:
    return Authorizer(
        keys=StaleKeyCache(components.keys, clock=components.clock, max_stale=MAX_STALE_AGE),
        token_verifier=None,
        load_digest_key=lambda: DIGEST_KEY,
        clock=components.clock,
        tenants=DynamoTenantStore(components.aws.client("dynamodb"), Table.ACCESS),
    )
