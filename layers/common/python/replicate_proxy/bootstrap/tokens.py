"""What the verification of an identity provider's tokens is made of."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import requests

from replicate_proxy.auth.principal import DEFAULT_SCOPES, parse_scopes
from replicate_proxy.auth.tokens import JwksClient, JwksSettings, JwtSettings, JwtVerifier
from replicate_proxy.config import read_local_settings

if TYPE_CHECKING:
    from replicate_proxy.config import Env
    from replicate_proxy.ports import Clock


_WIDEST_LEEWAY = 60


def build_token_verifier(issuer: str, env: Env, clock: Clock) -> JwtVerifier:
    settings = JwtSettings(
        issuer=issuer,
        audience=env.text("JWT_AUDIENCE"),
        tenant_claim=env.text("JWT_TENANT_CLAIM", "tenant"),
        scope_claim=env.text("JWT_SCOPE_CLAIM", "scope"),
        grantable_scopes=parse_scopes(env.names("JWT_GRANTABLE_SCOPES", ",".join(DEFAULT_SCOPES))),
        leeway_seconds=min(env.number("JWT_LEEWAY_SECONDS", 30), _WIDEST_LEEWAY),
    )
    keys = JwksSettings(
        url=env.text("JWKS_URL", f"{issuer.rstrip('/')}/.well-known/jwks.json"),
        min_refresh_interval_seconds=env.number("JWKS_MIN_REFRESH_SECONDS", 60),
        max_stale_seconds=env.number("JWKS_MAX_STALE_SECONDS", 6 * 3600),
        allow_loopback=bool(read_local_settings(os.environ).get("allow_loopback")),
    )
    return JwtVerifier(settings, JwksClient(keys, session=requests.Session(), clock=clock))
