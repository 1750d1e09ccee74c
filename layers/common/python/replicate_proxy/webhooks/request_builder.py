"""What goes over the wire for one attempt: address, signed headers, body."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicate_proxy.errors import NotFoundError
from replicate_proxy.signing import sign_webhook
from replicate_proxy.webhooks.endpoints import (
    live_secrets,
)
from replicate_proxy.webhooks.model import PREDICTION_TARGET, Delivery, Ending

if TYPE_CHECKING:
    from datetime import datetime

    from replicate_proxy.ports import DocumentStore
    from replicate_proxy.webhooks.ports import EndpointStore, Outbox, TenantSecrets


USER_AGENT = "replicate-proxy-webhooks/1"


@dataclass(frozen=True, slots=True)
class Letter:
    """One request; the signature covers the message id, the time of this attempt, and the body."""

    url: str
    headers: dict[str, str]
    body: bytes


class Letters:
    """Writes letters from the stored event, to the endpoint as it is now."""

    def __init__(
        self, *, outbox: Outbox, endpoints: EndpointStore, secrets: TenantSecrets, documents: DocumentStore
    ) -> None:
        self._outbox = outbox
        self._endpoints = endpoints
        self._secrets = secrets
        self._documents = documents

    def write(self, delivery: Delivery, now: datetime) -> Letter | Ending:
        """The letter, or why there will never be one."""
        address = self._address(delivery, now)
        if isinstance(address, Ending):
            return address
        url, secrets = address
        body = self._body(delivery)
        return (
            Letter(url, _headers(delivery, secrets, body, now), body) if body is not None else Ending.EXPIRED
        )

    def _address(self, delivery: Delivery, now: datetime) -> tuple[str, tuple[str, ...]] | Ending:
        if delivery.target == PREDICTION_TARGET:
            secrets = self._secrets.of(delivery.tenant, now=now)
            return delivery.url or "", live_secrets(secrets, now)
        endpoint = self._endpoints.get(delivery.tenant, delivery.target)
        if endpoint is None:
            return Ending.ENDPOINT_DELETED
        if not endpoint.is_enabled:
            return Ending.ENDPOINT_DISABLED
        return endpoint.url, live_secrets(endpoint.secrets, now)

    def _body(self, delivery: Delivery) -> bytes | None:
        """The stored text; None where retention has taken it."""
        event = self._outbox.event(delivery.tenant, delivery.job_id, delivery.sequence)
        if event is None:
            return None
        try:
            return str(self._documents.load(event.body)).encode()
        except NotFoundError:
            return None


def _headers(delivery: Delivery, secrets: tuple[str, ...], body: bytes, now: datetime) -> dict[str, str]:
    """Standard Webhooks specification, "Webhook headers"; and three of ours, for routing."""
    timestamp = int(now.timestamp())
    return {
        "content-type": "application/json",
        "user-agent": USER_AGENT,
        "webhook-id": delivery.message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign_webhook(secrets, delivery.message_id, timestamp, body),
        "x-proxy-event": delivery.kind.value,
        "x-proxy-sequence": str(delivery.sequence),
        "x-proxy-attempt": str(delivery.attempts + 1),
    }
