"""Manage a tenant's endpoints and signing secrets."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from replicate_proxy.errors import ApiError, NotFoundError, field_error
from replicate_proxy.net.errors import ForbiddenUrlError
from replicate_proxy.observability import logger
from replicate_proxy.webhooks.endpoints import (
    DisabledReason,
    Endpoint,
    MissedSearch,
    generate_endpoint_id,
)
from replicate_proxy.webhooks.receiver_limits import ReceiverHealth
from replicate_proxy.webhooks.signing_secrets import generate_signing_secret, rotate_secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from replicate_proxy.ports import Clock
    from replicate_proxy.webhooks.model import EventKind
    from replicate_proxy.webhooks.ports import EndpointStore, ReceiverLimitStore, SigningSecretStore


MAX_ENDPOINTS = 20
"""Per tenant. Every event reads all endpoints of its tenant in one query."""

# The deliver function runs for at most a minute; the index of deliveries by target may lag.
_MISSED_SEARCH_DELAY = timedelta(minutes=2)


class EndpointService:
    """Use cases of the endpoint routes.

    Methods that take an endpoint ID raise NotFoundError if the tenant has no such endpoint. `check_url`
    raises ForbiddenUrlError for a URL that webhooks may not be sent to.
    """

    def __init__(
        self,
        *,
        endpoints: EndpointStore,
        secrets: SigningSecretStore,
        receiver_limits: ReceiverLimitStore,
        check_url: Callable[[str], object],
        clock: Clock,
    ) -> None:
        self._endpoints = endpoints
        self._secrets = secrets
        self._receiver_limits = receiver_limits
        self._check_url = check_url
        self._clock = clock

    def create(
        self, tenant: str, *, url: str, events: Sequence[EventKind] = (), description: str = ""
    ) -> Endpoint:
        """Register an endpoint with a new secret.

        Raises ApiError: 422 for a forbidden URL, 409 if the tenant has `MAX_ENDPOINTS` already.
        """
        self._validate_url(url)
        if len(self._endpoints.list_all(tenant)) >= MAX_ENDPOINTS:
            raise ApiError(
                409, "Too many endpoints", f"A tenant may have {MAX_ENDPOINTS} endpoints; delete one first"
            )
        now = self._clock.now()
        endpoint = Endpoint(
            tenant=tenant,
            id=generate_endpoint_id(now),
            url=url,
            secrets=(generate_signing_secret(now),),
            events=tuple(events),
            description=description,
            created_at=now,
            updated_at=now,
        )
        self._endpoints.create(endpoint)
        logger.info("endpoint created", endpoint_id=endpoint.id)
        return endpoint

    def list_all(self, tenant: str) -> Sequence[Endpoint]:
        return self._endpoints.list_all(tenant)

    def get(self, tenant: str, endpoint_id: str) -> Endpoint:
        endpoint = self._endpoints.get(tenant, endpoint_id)
        if endpoint is None:
            raise NotFoundError("no such endpoint")
        return endpoint

    def update(
        self,
        tenant: str,
        endpoint_id: str,
        *,
        url: str | None = None,
        events: Sequence[EventKind] | None = None,
        description: str | None = None,
        enabled: bool | None = None,
    ) -> Endpoint:
        """Change the fields that are not None; a new URL resets the failure counters.

        Raises a 422 ApiError for a forbidden URL.
        """
        endpoint = self.get(tenant, endpoint_id)
        now = self._clock.now()
        if url is not None:
            self._validate_url(url)
            if url != endpoint.url:
                # They are failures of another receiver.
                self._receiver_limits.reset_failures(tenant, endpoint_id)
            endpoint = replace(endpoint, url=url)
        if events is not None:
            endpoint = replace(endpoint, events=tuple(events))
        if description is not None:
            endpoint = replace(endpoint, description=description)
        if enabled is False and endpoint.is_enabled:
            endpoint = replace(endpoint, disabled_reason=DisabledReason.BY_TENANT, disabled_at=now)
        if enabled is True:
            endpoint = self._enable(endpoint)
        return self._endpoints.save(replace(endpoint, updated_at=now))

    def enable(self, tenant: str, endpoint_id: str, *, searches_missed: bool = True) -> Endpoint:
        """Enable the endpoint, whatever disabled it, and reset its failure counters.

        With `searches_missed`, the sweep searches for what it missed: not before the functions that may
        have read it as disabled have ended. Without, no later search finds it either.
        """
        now = self._clock.now()
        before = self.get(tenant, endpoint_id)
        endpoint = replace(self._enable(before), updated_at=now)
        if searches_missed and before.missed_since is not None:
            search = MissedSearch(disabled_at=before.missed_since, due_at=now + _MISSED_SEARCH_DELAY)
            endpoint = replace(endpoint, missed_search=search)
        return self._endpoints.save(endpoint)

    def delete(self, tenant: str, endpoint_id: str) -> None:
        """Delete the endpoint. Pending deliveries to it fail at their next attempt."""
        if not self._endpoints.delete(tenant, endpoint_id):
            raise NotFoundError("no such endpoint")
        logger.info("endpoint deleted", endpoint_id=endpoint_id)

    def rotate_secret(self, tenant: str, endpoint_id: str, overlap: timedelta) -> Endpoint:
        """Add a new secret; the old ones keep signing beside it for `overlap`."""
        now = self._clock.now()
        endpoint = self.get(tenant, endpoint_id)
        secrets = rotate_secrets(endpoint.secrets, now=now, overlap=overlap)
        return self._endpoints.save(replace(endpoint, secrets=secrets, updated_at=now))

    def get_default_secret(self, tenant: str) -> str:
        """Return the secret that signs the webhooks of the tenant's predictions."""
        return self._secrets.get_or_create(tenant, now=self._clock.now())[0].text

    def rotate_default_secret(self, tenant: str, overlap: timedelta) -> str:
        """Replace the tenant's default secret and return the new one."""
        now = self._clock.now()
        old = self._secrets.get_or_create(tenant, now=now)
        new = rotate_secrets(old, now=now, overlap=overlap)
        self._secrets.replace(tenant, old=old, new=new)
        return new[0].text

    def get_health(self, endpoint: Endpoint) -> ReceiverHealth:
        """Return the health of the receiver; all zero if nothing was sent to it yet."""
        return self._receiver_limits.get(endpoint.tenant, endpoint.id) or ReceiverHealth()

    def _enable(self, endpoint: Endpoint) -> Endpoint:
        self._receiver_limits.reset_failures(endpoint.tenant, endpoint.id)
        if endpoint.is_enabled:
            return endpoint
        return replace(
            endpoint, disabled_reason=None, disabled_at=None, unsearched_since=None, missed_search=None
        )

    def _validate_url(self, url: str) -> None:
        try:
            self._check_url(url)
        except ForbiddenUrlError as error:
            raise field_error("url", error.reason, error_type="forbidden_url") from error
