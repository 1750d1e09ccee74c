"""Build the request of one attempt: URL, signed headers, body."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicate_proxy.errors import NotFoundError
from replicate_proxy.outputs.private_urls import refuse_private
from replicate_proxy.signing import sign_webhook
from replicate_proxy.webhooks.events import to_json
from replicate_proxy.webhooks.model import PREDICTION_TARGET, Delivery, FailureReason
from replicate_proxy.webhooks.signing_secrets import select_live_secrets

if TYPE_CHECKING:
    from datetime import datetime

    from replicate_proxy.outputs.private_urls import SignUrls
    from replicate_proxy.ports import DocumentStore
    from replicate_proxy.webhooks.ports import DeliveryStore, EndpointStore, SigningSecretStore


USER_AGENT = "replicate-proxy-webhooks/1"


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """One POST. The signature covers the message ID, the time of this attempt, and the body."""

    url: str
    headers: dict[str, str]
    body: bytes


class RequestBuilder:
    """Builds requests from the stored event and the endpoint's current URL and secrets."""

    def __init__(
        self,
        *,
        deliveries: DeliveryStore,
        endpoints: EndpointStore,
        secrets: SigningSecretStore,
        documents: DocumentStore,
        sign_urls: SignUrls = refuse_private,
    ) -> None:
        self._deliveries = deliveries
        self._endpoints = endpoints
        self._secrets = secrets
        self._documents = documents
        self._sign_urls = sign_urls

    def build(self, delivery: Delivery, now: datetime) -> SignedRequest | FailureReason:
        """Return the request, or why the delivery can never be sent.

        Raises UrlSigningError if it has URLs of private files that cannot be signed now.
        """
        destination = self._find_destination(delivery, now)
        if isinstance(destination, FailureReason):
            return destination
        url, secrets = destination
        body = self._load_body(delivery)
        if body is None:
            return FailureReason.EXPIRED
        return SignedRequest(url, _build_headers(delivery, secrets, body, now), body)

    def is_endpoint_enabled(self, delivery: Delivery) -> bool:
        """Return whether the delivery goes to an endpoint that is enabled now."""
        if delivery.target == PREDICTION_TARGET:
            return False
        endpoint = self._endpoints.get(delivery.tenant, delivery.target)
        return endpoint is not None and endpoint.is_enabled

    def _find_destination(
        self, delivery: Delivery, now: datetime
    ) -> tuple[str, tuple[str, ...]] | FailureReason:
        """Return the URL and the secrets to sign with."""
        if delivery.target == PREDICTION_TARGET:
            secrets = self._secrets.get_or_create(delivery.tenant, now=now)
            return delivery.url or "", select_live_secrets(secrets, now)
        endpoint = self._endpoints.get(delivery.tenant, delivery.target)
        if endpoint is None:
            return FailureReason.ENDPOINT_DELETED
        if not endpoint.is_enabled:
            return FailureReason.ENDPOINT_DISABLED
        return endpoint.url, select_live_secrets(endpoint.secrets, now)

    def _load_body(self, delivery: Delivery) -> bytes | None:
        """Return the stored body, or None if its retention is over."""
        event = self._deliveries.get_event(delivery.tenant, delivery.job_id, delivery.sequence)
        if event is None:
            return None
        try:
            text = str(self._documents.load(event.body))
        except NotFoundError:
            return None
        if event.private_folder:
            body = json.loads(text)
            signed = self._sign_urls(body, event.private_folder)
            text = text if signed is body else to_json(signed)
        return text.encode()


def _build_headers(
    delivery: Delivery, secrets: tuple[str, ...], body: bytes, now: datetime
) -> dict[str, str]:
    """Return the Standard Webhooks headers (specification, "Webhook headers") and ours for routing."""
    timestamp = int(now.timestamp())
    return {
        "content-type": "application/json",
        "user-agent": USER_AGENT,
        "webhook-id": delivery.message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign_webhook(secrets, delivery.message_id, timestamp, body),
        "x-proxy-event": delivery.kind.value,
        "x-proxy-sequence": str(delivery.sequence),
        "x-proxy-attempt": str(delivery.total_attempts + 1),
    }
