"""What the admin function is made of."""

from __future__ import annotations

import os
from functools import cache

from replicate_proxy.admin.gateway import ApiGateway
from replicate_proxy.admin.keys import KeyService, KeySettings
from replicate_proxy.admin.routes import AdminApi
from replicate_proxy.auth.key_store import DynamoKeyStore
from replicate_proxy.auth.keys import Limits
from replicate_proxy.aws import client
from replicate_proxy.bootstrap.signing_keys import api_key_digest_key
from replicate_proxy.clock import SystemClock
from replicate_proxy.config import Env

__all__ = ["admin"]


@cache
def admin() -> AdminApi:
    env = Env(os.environ)
    return AdminApi(keys=_keys(env))


def _keys(env: Env) -> KeyService:
    return KeyService(
        store=DynamoKeyStore(client("dynamodb"), env.text("ACCESS_TABLE")),
        gateway=ApiGateway(client("apigateway"), prefix=env.text("USAGE_PLAN_PREFIX", "replicate-proxy")),
        digest_key=api_key_digest_key,
        clock=SystemClock(),
        settings=KeySettings(
            usage_plans=env.flag("USAGE_PLANS"),
            default_limits=Limits(
                rate=env.number("DEFAULT_RATE_LIMIT", 10),
                burst=env.integer("DEFAULT_BURST_LIMIT", 20),
                monthly_quota=env.integer("DEFAULT_MONTHLY_QUOTA", 0) or None,
            ),
            authorizer_cache_seconds=env.integer("AUTHORIZER_CACHE_SECONDS", 60),
        ),
    )
