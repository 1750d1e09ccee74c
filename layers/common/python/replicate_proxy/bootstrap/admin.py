"""The deployment's dead-letter queues, and where their messages go back to.

What the admin function is made of.
"""

from __future__ import annotations

import time
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING

from replicate_proxy.api.admin.routes import AdminApi, AdminServices
from replicate_proxy.auth.keys import UsageLimits
from replicate_proxy.aws.api_gateway import ApiGateway
from replicate_proxy.aws.clients import get_client
from replicate_proxy.aws.dead_letter_queues import SqsQueueClient
from replicate_proxy.aws.invocations import FailedInvocations
from replicate_proxy.aws.key_store import DynamoKeyStore
from replicate_proxy.aws.secrets import SsmParameter
from replicate_proxy.aws.tenant_store import DynamoTenantStore
from replicate_proxy.bootstrap.endpoints import redelivery_service
from replicate_proxy.bootstrap.environment import clock, env
from replicate_proxy.bootstrap.replicate import circuit_breaker, replicate_client
from replicate_proxy.bootstrap.secrets import api_key_digest_key
from replicate_proxy.operations.dead_letters import DeadLetterQueue, DeadLetterService
from replicate_proxy.operations.keys import KeyService
from replicate_proxy.operations.tenants import TenantService
from replicate_proxy.operations.usage_plans import UsagePlanKeys
from replicate_proxy.replicate_api.webhook_secret import WebhookSecretRefresher

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicate_proxy.config import Env


_WITH_SOURCE = ("dispatch", "track", "harvest", "notify")
_STREAM_NOTE = "Holds positions in the table's stream; a redrive reads and tells the changes, for 24 hours"
_SWEEP_NOTE = "Holds failed runs of the schedules; a redrive makes them again, as the next run does"


def build_dead_letter_queues(env: Env, invocations: FailedInvocations) -> Mapping[str, DeadLetterQueue]:
    sources = {name: env.text(f"{name.upper()}_QUEUE_URL") for name in _WITH_SOURCE}
    queues = {
        name: DeadLetterQueue(env.text(f"{name.upper()}_DEAD_LETTER_QUEUE_URL"), source_url=url)
        for name, url in sources.items()
    }
    targets = {url.rpartition("/")[2]: url for url in sources.values()}
    return {
        **queues,
        "bus": DeadLetterQueue(env.text("BUS_DEAD_LETTER_QUEUE_URL"), source_urls_by_target=targets),
        "notify-stream": DeadLetterQueue(
            env.text("NOTIFY_STREAM_DEAD_LETTER_QUEUE_URL"), retry=invocations.retry, note=_STREAM_NOTE
        ),
        "sweep": DeadLetterQueue(
            env.text("SWEEP_DEAD_LETTER_QUEUE_URL"), retry=invocations.retry, note=_SWEEP_NOTE
        ),
    }


@cache
def build_admin_api() -> AdminApi:
    table = env.text("ACCESS_TABLE")
    gateway = ApiGateway(get_client("apigateway"), prefix=env.text("USAGE_PLAN_PREFIX", "replicate-proxy"))
    seats = UsagePlanKeys(gateway, default_limits=_default_limits(env))
    keys = KeyService(
        store=DynamoKeyStore(get_client("dynamodb"), table),
        gateway=gateway,
        usage_plan_keys=seats,
        load_digest_key=api_key_digest_key,
        clock=clock,
        authorizer_cache_ttl=timedelta(seconds=env.number("AUTHORIZER_CACHE_SECONDS", 60)),
    )
    return AdminApi(
        AdminServices(
            keys=keys,
            tenants=TenantService(
                store=DynamoTenantStore(get_client("dynamodb"), table), usage_plan_keys=seats, clock=clock
            ),
            dead_letters=DeadLetterService(
                SqsQueueClient(get_client("sqs")),
                build_dead_letter_queues(env, FailedInvocations(get_client("lambda"))),
                clock=clock,
                sleep=time.sleep,
            ),
            breaker=circuit_breaker(),
            redeliveries=redelivery_service(),
            webhook_secret=WebhookSecretRefresher(
                replicate_client().get_webhook_secret,
                SsmParameter(get_client("ssm"), env.text("REPLICATE_WEBHOOK_SECRET")),
            ),
        )
    )


def _default_limits(env: Env) -> UsageLimits | None:
    """None where the stage has no usage plans."""
    if not env.flag("USAGE_PLANS"):
        return None
    return UsageLimits(
        rate=env.number("DEFAULT_RATE_LIMIT", 10),
        burst=env.integer("DEFAULT_BURST_LIMIT", 20),
        monthly_quota=env.integer("DEFAULT_MONTHLY_QUOTA", 0) or None,
    )
