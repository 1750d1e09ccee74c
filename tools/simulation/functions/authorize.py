"""The authorize function: accepts or rejects callers."""

from __future__ import annotations

from datetime import timedelta

from replicate_proxy.auth.authorizer import Authorizer
from replicate_proxy.auth.stale_key_cache import StaleKeyCache
from replicate_proxy.aws.tenant_store import DynamoTenantStore
from tools.simulation.functions.components import DIGEST_KEY, Components
from tools.simulation.resources import Table

# As ReauthorizeEvery in template.yaml
AUTHORIZER_CACHE_SECONDS = 60.0
# As in bootstrap/authorize.py
MAX_STALE_SECONDS = 300.0


def build_authorizer(components: Components) -> Authorizer:
    return Authorizer(
        keys=StaleKeyCache(
            components.keys, clock=components.clock, max_stale=timedelta(seconds=MAX_STALE_SECONDS)
        ),
        token_verifier=None,
        load_digest_key=lambda: DIGEST_KEY,
        clock=components.clock,
        tenants=DynamoTenantStore(components.aws.client("dynamodb"), Table.ACCESS),
    )
