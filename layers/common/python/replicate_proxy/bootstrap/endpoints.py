"""What the endpoints function is made of; the admin function redelivers by the same services."""

from __future__ import annotations

import os
from functools import cache

from replicate_proxy.api.webhooks.endpoints import WebhookApi
from replicate_proxy.bootstrap.delivery import (
    endpoints,
    lanes,
    outbox,
    queue,
    settings,
    tenant_secrets,
    webhook_policy,
)
from replicate_proxy.bootstrap.environment import clock, env
from replicate_proxy.net.addresses import parse_url
from replicate_proxy.webhooks.endpoint_service import EndpointAdmin
from replicate_proxy.webhooks.redelivery import Redelivery


@cache
def webhook_api() -> WebhookApi:
    return WebhookApi(
        endpoints=endpoint_admin(),
        redelivery=redelivery(),
        outbox=outbox(),
        public_base_url=env.text("PUBLIC_BASE_URL", ""),
    )


@cache
def endpoint_admin() -> EndpointAdmin:
    policy = webhook_policy(os.environ)
    return EndpointAdmin(
        endpoints=endpoints(),
        secrets=tenant_secrets(),
        lanes=lanes(),
        check_url=lambda url: parse_url(url, policy),
        clock=clock,
    )


@cache
def redelivery() -> Redelivery:
    return Redelivery(outbox=outbox(), endpoints=endpoints(), queue=queue(), clock=clock, settings=settings())
