"""Making, changing, rotating and revoking API keys."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from replicate_proxy.api.admin.bodies import require_future_expiry
from replicate_proxy.auth.keys import ApiKey, ApiKeySecret, rotate_key
from replicate_proxy.errors import ApiError, NotFoundError
from replicate_proxy.observability import logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.api.admin.bodies import CreateKeyBody, LimitsBody, RotateKeyBody, UpdateKeyBody
    from replicate_proxy.auth.ports import KeyStore
    from replicate_proxy.operations.ports import Gateway, Stage
    from replicate_proxy.operations.usage_plans import UsagePlanKeys
    from replicate_proxy.ports import Clock


class KeyService:
    """Keys of all tenants. Texts of keys are returned once and kept nowhere."""

    def __init__(
        self,
        *,
        store: KeyStore,
        gateway: Gateway,
        usage_plan_keys: UsagePlanKeys,
        digest_key: Callable[[], bytes],
        clock: Clock,
        authorizer_cache_ttl: timedelta,
    ) -> None:
        """`authorizer_cache`: how long API Gateway believes an earlier answer of the authorizer."""
        self._store = store
        self._gateway = gateway
        self._seats = usage_plan_keys
        self._digest_key = digest_key
        self._clock = clock
        self._authorizer_cache = authorizer_cache_ttl

    def create(self, wanted: CreateKeyBody, stage: Stage) -> tuple[ApiKey, ApiKeySecret]:
        now = self._clock.now()
        text = ApiKeySecret.generate()
        key = ApiKey(
            id=text.key_id,
            digest=text.compute_digest(self._digest_key()),
            tenant=wanted.tenant,
            created_at=now,
            name=wanted.name,
            scopes=wanted.scopes,
            allowed_ips=wanted.allowed_ips,
            allowed_models=wanted.allowed_models,
            expires_at=require_future_expiry(wanted.expires_at, now),
        )
        key = self._limited(key, wanted.limits, stage)
        self._store.create(key)
        logger.info("key created", created_key_id=key.id, for_tenant=key.tenant)
        return key, text

    def list(self, *, tenant: str | None = None) -> list[ApiKey]:
        return self._store.list(tenant=tenant)

    def get(self, key_id: str) -> ApiKey:
        """Raises NotFoundError for an unknown id."""
        key = self._store.get(key_id)
        if key is None:
            raise NotFoundError("no such key")
        return key

    def update(self, key_id: str, wanted: UpdateKeyBody, stage: Stage) -> ApiKey:
        """Changes the fields that the body names; effective at once."""
        key = self._live(key_id)
        changes = wanted.model_dump(include=wanted.model_fields_set - {"limits"})
        require_future_expiry(changes.get("expires_at"), self._clock.now())
        changed = replace(key, **changes)
        if "limits" in wanted.model_fields_set:
            changed = self._limited(changed, wanted.limits, stage)
        self._store.replace(changed, expected_digest=key.digest)
        if changed.usage_key_id != key.usage_key_id:
            self._seats.remove(key.usage_key_id)
        self._gateway.flush_authorizer_cache(stage)
        return changed

    def rotate(self, key_id: str, wanted: RotateKeyBody, stage: Stage) -> tuple[ApiKey, ApiKeySecret]:
        """A new secret under the same id; the old one stays good for the grace, if any."""
        key = self._live(key_id)
        grace = timedelta(seconds=wanted.overlap_seconds)
        changed, text = rotate_key(key, self._digest_key(), now=self._clock.now(), overlap=grace)
        self._store.replace(changed, expected_digest=key.digest)
        if not grace:
            self._gateway.flush_authorizer_cache(stage)
        logger.info("key rotated", rotated_key_id=key.id, for_tenant=key.tenant)
        return changed, text

    def revoke(self, key_id: str, stage: Stage) -> tuple[ApiKey, datetime]:
        """Ends a key; gives also the moment from which nobody accepts it. Repeating it changes nothing."""
        now = self._clock.now()
        key = self.get(key_id)
        if key.revoked_at is None:
            key = replace(key, revoked_at=now)
            self._store.replace(key, expected_digest=key.digest)
            logger.info("key revoked", revoked_key_id=key.id, for_tenant=key.tenant)
        self._seats.remove(key.usage_key_id)
        forgotten = self._gateway.flush_authorizer_cache(stage)
        return key, now if forgotten else now + self._authorizer_cache

    def _live(self, key_id: str) -> ApiKey:
        key = self.get(key_id)
        if key.revoked_at is not None:
            raise ApiError(409, "Key is revoked", "A revoked key stays revoked; create another one")
        return key

    def _limited(self, key: ApiKey, limits: LimitsBody | None, stage: Stage) -> ApiKey:
        seat = self._seats.assign(f"{key.tenant}-{key.id}", limits.to_limits() if limits else None, stage)
        return replace(key, limits=seat.limits, usage_key_id=seat.usage_key_id, usage_key=seat.usage_key)
