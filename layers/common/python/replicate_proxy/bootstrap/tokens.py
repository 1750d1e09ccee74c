"""The token verifier of the authorizer, a module of its own because it imports PyJWT and requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import requests

from replicate_proxy.auth.principal import parse_scopes
from replicate_proxy.auth.tokens import JwksClient, JwksSettings, JwtSettings, JwtVerifier
from replicate_proxy.bootstrap.environment import env
from replicate_proxy.settings import (
    JWKS_MAX_STALE_SECONDS,
    JWKS_MIN_REFRESH_SECONDS,
    JWKS_URL,
    JWT_AUDIENCE,
    JWT_GRANTABLE_SCOPES,
    JWT_SCOPE_CLAIM,
    JWT_TENANT_CLAIM,
)

if TYPE_CHECKING:
    from replicate_proxy.ports import Clock


_LEEWAY_SECONDS = 30


def build_token_verifier(issuer: str, clock: Clock) -> JwtVerifier:
    settings = JwtSettings(
        issuer=issuer,
        audience=env[JWT_AUDIENCE],
        tenant_claim=env[JWT_TENANT_CLAIM],
        scope_claim=env[JWT_SCOPE_CLAIM],
        grantable_scopes=parse_scopes(env[JWT_GRANTABLE_SCOPES]),
        leeway_seconds=_LEEWAY_SECONDS,
    )
    jwks_settings = JwksSettings(
        url=env[JWKS_URL] or f"{issuer.rstrip('/')}/.well-known/jwks.json",
        min_refresh_interval_seconds=env[JWKS_MIN_REFRESH_SECONDS],
        max_stale_seconds=env[JWKS_MAX_STALE_SECONDS],
        allow_loopback=env.local_settings().allow_loopback,
    )
    jwks_client = JwksClient(jwks_settings, session=requests.Session(), clock=clock)
    return JwtVerifier(settings, jwks_client)
