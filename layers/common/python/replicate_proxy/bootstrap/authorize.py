"""What the authorizer is made of."""

from __future__ import annotations

import os
from datetime import timedelta
from functools import cache

import requests

from replicate_proxy.auth.authorizer import Authorizer
from replicate_proxy.auth.grace import GracefulKeys
from replicate_proxy.auth.jwks import JwksClient, JwksSettings
from replicate_proxy.auth.key_store import DynamoKeyStore
from replicate_proxy.auth.scopes import DEFAULT_SCOPES, known_scopes
from replicate_proxy.auth.tokens import JwtSettings, JwtVerifier
from replicate_proxy.aws import client
from replicate_proxy.bootstrap.signing_keys import api_key_digest_key
from replicate_proxy.clock import SystemClock
from replicate_proxy.config import Env

__all__ = ["authorizer"]


@cache
def authorizer() -> Authorizer:
    env = Env(os.environ)
    clock = SystemClock()
    keys = GracefulKeys(
        DynamoKeyStore(client("dynamodb"), env.text("ACCESS_TABLE")),
        clock=clock,
        grace=timedelta(seconds=env.number("KEY_GRACE_SECONDS", 300)),
    )
    return Authorizer(keys=keys, tokens=_tokens(env, clock), digest_key=api_key_digest_key, clock=clock)


def _tokens(env: Env, clock: SystemClock) -> JwtVerifier | None:
    """None where no issuer is set: then only API keys are accepted."""
    issuer = env.text("JWT_ISSUER", "")
    if not issuer:
        return None
    settings = JwtSettings(
        issuer=issuer,
        audience=env.text("JWT_AUDIENCE"),
        tenant_claim=env.text("JWT_TENANT_CLAIM", "tenant"),
        scope_claim=env.text("JWT_SCOPE_CLAIM", "scope"),
        scopes=known_scopes(env.names("JWT_SCOPES", ",".join(DEFAULT_SCOPES))),
        leeway_seconds=min(env.number("JWT_LEEWAY_SECONDS", 30), 60),
    )
    keys = JwksSettings(
        url=env.text("JWKS_URL", f"{issuer.rstrip('/')}/.well-known/jwks.json"),
        refresh_seconds=env.number("JWKS_REFRESH_SECONDS", 60),
        grace_seconds=env.number("JWKS_GRACE_SECONDS", 6 * 3600),
    )
    return JwtVerifier(settings, JwksClient(keys, session=requests.Session(), clock=clock))
