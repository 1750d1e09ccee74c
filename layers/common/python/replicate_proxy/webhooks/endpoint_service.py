"""A tenant's endpoints and signing secrets, as their owner manages them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from replicate_proxy.api.validation import field_error
from replicate_proxy.clock import format_optional_timestamp
from replicate_proxy.errors import ApiError, NotFoundError
from replicate_proxy.net.errors import ForbiddenUrlError
from replicate_proxy.observability import logger
from replicate_proxy.webhooks.endpoints import (
    DisabledReason,
    Endpoint,
    generate_signing_secret,
    new_endpoint_id,
    rotate_secrets,
)
from replicate_proxy.webhooks.model import EventKind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import timedelta

    from replicate_proxy.api.webhooks.bodies import CreateEndpointBody, UpdateEndpointBody
    from replicate_proxy.ports import Clock
    from replicate_proxy.webhooks.ports import EndpointStore, Lanes, TenantSecrets


MOST_ENDPOINTS = 20


class EndpointAdmin:
    """Every method is given the tenant; another tenant's endpoint is as unknown as one that never was.

    `check_url` raises ForbiddenUrlError for an address that would not be called.
    """

    def __init__(
        self,
        *,
        endpoints: EndpointStore,
        secrets: TenantSecrets,
        lanes: Lanes,
        check_url: Callable[[str], object],
        clock: Clock,
    ) -> None:
        self._endpoints = endpoints
        self._secrets = secrets
        self._lanes = lanes
        self._check_url = check_url
        self._clock = clock

    def create(self, tenant: str, wanted: CreateEndpointBody) -> Endpoint:
        """Raises a 422 ApiError for an address that is not called, a 409 where there are too many."""
        self._check(wanted.url)
        if len(self._endpoints.all(tenant)) >= MOST_ENDPOINTS:
            raise ApiError(
                409, "Too many endpoints", f"A tenant may have {MOST_ENDPOINTS} endpoints; delete one first"
            )
        now = self._clock.now()
        endpoint = Endpoint(
            tenant=tenant,
            id=new_endpoint_id(now),
            url=wanted.url,
            secrets=(generate_signing_secret(now),),
            events=tuple(EventKind(word) for word in wanted.events),
            description=wanted.description,
            created_at=now,
            updated_at=now,
        )
        self._endpoints.create(endpoint)
        logger.info("endpoint created", endpoint_id=endpoint.id)
        return endpoint

    def list(self, tenant: str) -> Sequence[Endpoint]:
        return self._endpoints.all(tenant)

    def get(self, tenant: str, endpoint_id: str) -> Endpoint:
        """Raises NotFoundError."""
        endpoint = self._endpoints.get(tenant, endpoint_id)
        if endpoint is None:
            raise NotFoundError("no such endpoint")
        return endpoint

    def update(self, tenant: str, endpoint_id: str, wanted: UpdateEndpointBody) -> Endpoint:
        endpoint = self.get(tenant, endpoint_id)
        now = self._clock.now()
        if wanted.url is not None:
            self._check(wanted.url)
            endpoint = replace(endpoint, url=wanted.url)
        if wanted.events is not None:
            endpoint = replace(endpoint, events=tuple(EventKind(word) for word in wanted.events))
        if wanted.description is not None:
            endpoint = replace(endpoint, description=wanted.description)
        if wanted.enabled is False and endpoint.is_enabled:
            endpoint = replace(endpoint, disabled_reason=DisabledReason.BY_OWNER, disabled_at=now)
        if wanted.enabled is True:
            endpoint = self._enabled(endpoint)
        return self._endpoints.save(replace(endpoint, updated_at=now))

    def enable(self, tenant: str, endpoint_id: str) -> Endpoint:
        """Switches it on, whoever switched it off; its failures are forgotten."""
        endpoint = self._enabled(self.get(tenant, endpoint_id))
        return self._endpoints.save(replace(endpoint, updated_at=self._clock.now()))

    def delete(self, tenant: str, endpoint_id: str) -> None:
        """Deliveries under way to it end at their next attempt."""
        if not self._endpoints.delete(tenant, endpoint_id):
            raise NotFoundError("no such endpoint")
        logger.info("endpoint deleted", endpoint_id=endpoint_id)

    def rotate(self, tenant: str, endpoint_id: str, grace: timedelta) -> Endpoint:
        """A new secret; the old one signs beside it for `grace`."""
        now = self._clock.now()
        endpoint = self.get(tenant, endpoint_id)
        secrets = rotate_secrets(endpoint.secrets, now=now, grace=grace)
        return self._endpoints.save(replace(endpoint, secrets=secrets, updated_at=now))

    def default_secret(self, tenant: str) -> str:
        """The secret that signs the webhooks of the tenant's predictions."""
        return self._secrets.of(tenant, now=self._clock.now())[0].text

    def rotate_default(self, tenant: str, grace: timedelta) -> str:
        now = self._clock.now()
        old = self._secrets.of(tenant, now=now)
        new = rotate_secrets(old, now=now, grace=grace)
        self._secrets.replace(tenant, old=old, new=new)
        return new[0].text

    def health(self, endpoint: Endpoint) -> dict[str, object]:
        """How it has been going: requests under way, failures in a row, since when, the last success."""
        lane = self._lanes.get(endpoint.tenant, endpoint.id)
        return {
            "in_flight": lane.in_flight if lane else 0,
            "failures_in_a_row": lane.failures_in_a_row if lane else 0,
            "failing_since": format_optional_timestamp(lane.failing_since if lane else None),
            "last_success_at": format_optional_timestamp(lane.last_success_at if lane else None),
        }

    def _enabled(self, endpoint: Endpoint) -> Endpoint:
        self._lanes.forgive(endpoint.tenant, endpoint.id)
        return replace(endpoint, disabled_reason=None, disabled_at=None)

    def _check(self, url: str) -> None:
        try:
            self._check_url(url)
        except ForbiddenUrlError as error:
            raise field_error("url", error.reason, error_type="forbidden_url") from error
