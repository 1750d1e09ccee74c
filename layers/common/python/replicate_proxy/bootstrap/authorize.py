"""The composition root of the authorizer function."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from replicate_proxy.auth.authorizer import Authorizer
from replicate_proxy.auth.stale_key_cache import MAX_STALE_AGE, StaleKeyCache
from replicate_proxy.aws.clients import get_fail_fast_client
from replicate_proxy.aws.key_store import DynamoKeyStore
from replicate_proxy.aws.tenant_store import DynamoTenantStore
from replicate_proxy.bootstrap.environment import env
from replicate_proxy.bootstrap.secrets import load_api_key_digest_key
from replicate_proxy.clock import SystemClock
from replicate_proxy.settings import ACCESS_TABLE, JWT_ISSUER

if TYPE_CHECKING:
    from replicate_proxy.auth.ports import TokenVerifier


@cache
def build_authorizer() -> Authorizer:
    clock = SystemClock()
    table = env[ACCESS_TABLE]
    keys = StaleKeyCache(
        DynamoKeyStore(get_fail_fast_client(), table),
        clock=clock,
        max_stale=MAX_STALE_AGE,
    )
    return Authorizer(
        keys=keys,
        token_verifier=_build_token_verifier(clock),
        load_digest_key=load_api_key_digest_key,
        clock=clock,
        tenants=DynamoTenantStore(get_fail_fast_client(), table),
    )


def _build_token_verifier(clock: SystemClock) -> TokenVerifier | None:
    """Return the verifier of tokens, None if no issuer is set: then only API keys are accepted."""
    issuer = env[JWT_ISSUER]
    if not issuer:
        return None
    # Imported here, because PyJWT with its cryptography adds a tenth of a second to each cold start and
    # deployments without tokens do not need it.
    from replicate_proxy.bootstrap.tokens import build_token_verifier  # noqa: PLC0415

    return build_token_verifier(issuer, clock)
