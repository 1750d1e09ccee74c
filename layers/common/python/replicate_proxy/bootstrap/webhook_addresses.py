"""Which addresses webhooks may go to: the same for those of predictions and of endpoints, and for sending."""

from __future__ import annotations

from replicate_proxy.bootstrap.environment import env
from replicate_proxy.net.addresses import AddressPolicy
from replicate_proxy.settings import WEBHOOK_PORTS


def build_webhook_address_policy() -> AddressPolicy:
    """Return the policy: https on `WEBHOOK_PORTS`, and loopback if local."""
    return AddressPolicy(
        allow_loopback=env.local_settings().allow_loopback,
        ports=frozenset(env[WEBHOOK_PORTS]),
    )
