"""What the admin function is made of."""

from __future__ import annotations

import time
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING

from replicate_proxy.admin.dead_letters import DeadLetters
from replicate_proxy.admin.gateway import ApiGateway
from replicate_proxy.admin.invocations import Invocations
from replicate_proxy.admin.keys import KeyService
from replicate_proxy.admin.parameters import SsmParameter
from replicate_proxy.admin.routes import AdminApi, AdminServices
from replicate_proxy.admin.seats import Seats
from replicate_proxy.admin.sqs import SqsQueues
from replicate_proxy.admin.tenants import TenantService
from replicate_proxy.admin.webhook_secret import WebhookSecret
from replicate_proxy.auth.key_store import DynamoKeyStore
from replicate_proxy.auth.keys import Limits
from replicate_proxy.auth.tenant_store import DynamoTenantStore
from replicate_proxy.aws import client
from replicate_proxy.bootstrap.dead_letters import dead_letter_queues
from replicate_proxy.bootstrap.endpoints import redelivery
from replicate_proxy.bootstrap.replicate import breaker, replicate_client
from replicate_proxy.bootstrap.signing_keys import api_key_digest_key
from replicate_proxy.bootstrap.surroundings import clock, env

if TYPE_CHECKING:
    from replicate_proxy.config import Env

__all__ = ["admin"]


@cache
def admin() -> AdminApi:
    table = env.text("ACCESS_TABLE")
    gateway = ApiGateway(client("apigateway"), prefix=env.text("USAGE_PLAN_PREFIX", "replicate-proxy"))
    seats = Seats(gateway, default=_default_limits(env))
    keys = KeyService(
        store=DynamoKeyStore(client("dynamodb"), table),
        gateway=gateway,
        seats=seats,
        digest_key=api_key_digest_key,
        clock=clock,
        authorizer_cache=timedelta(seconds=env.number("AUTHORIZER_CACHE_SECONDS", 60)),
    )
    return AdminApi(
        AdminServices(
            keys=keys,
            tenants=TenantService(
                store=DynamoTenantStore(client("dynamodb"), table), seats=seats, clock=clock
            ),
            letters=DeadLetters(
                SqsQueues(client("sqs")),
                dead_letter_queues(env, Invocations(client("lambda"))),
                clock=clock,
                sleep=time.sleep,
            ),
            breaker=breaker(),
            redeliveries=redelivery(),
            webhook_secret=WebhookSecret(
                replicate_client().webhook_secret,
                SsmParameter(client("ssm"), env.text("REPLICATE_WEBHOOK_SECRET")),
            ),
        )
    )


def _default_limits(env: Env) -> Limits | None:
    """None where the stage has no usage plans."""
    if not env.flag("USAGE_PLANS"):
        return None
    return Limits(
        rate=env.number("DEFAULT_RATE_LIMIT", 10),
        burst=env.integer("DEFAULT_BURST_LIMIT", 20),
        monthly_quota=env.integer("DEFAULT_MONTHLY_QUOTA", 0) or None,
    )
