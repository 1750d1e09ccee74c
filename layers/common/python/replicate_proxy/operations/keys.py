"""Administration of API keys: create, update, rotate and revoke."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from replicate_proxy.auth.keys import ApiKey, ApiKeySecret, rotate_key
from replicate_proxy.errors import ApiError, NotFoundError, field_error
from replicate_proxy.observability import logger

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime, timedelta

    from replicate_proxy.api.admin.bodies import CreateKeyBody, LimitsBody, UpdateKeyBody
    from replicate_proxy.auth.ports import KeyStore
    from replicate_proxy.operations.ports import Gateway, Stage
    from replicate_proxy.operations.usage_plans import UsagePlanKeys
    from replicate_proxy.ports import Clock


class KeyService:
    """Manages the API keys of all tenants.

    A secret is returned only by the call that creates it. A change to a key flushes the authorizer's cache in
    API Gateway, since otherwise the cached decision would apply for another `authorizer_cache_ttl`.
    """

    def __init__(
        self,
        *,
        store: KeyStore,
        gateway: Gateway,
        usage_plan_keys: UsagePlanKeys,
        load_digest_key: Callable[[], bytes],
        clock: Clock,
        authorizer_cache_ttl: timedelta,
    ) -> None:
        self._store = store
        self._gateway = gateway
        self._usage_plan_keys = usage_plan_keys
        self._load_digest_key = load_digest_key
        self._clock = clock
        self._authorizer_cache_ttl = authorizer_cache_ttl

    def create(self, body: CreateKeyBody, stage: Stage) -> tuple[ApiKey, ApiKeySecret]:
        self._check_expiry(body.expires_at)
        secret = ApiKeySecret.generate()
        key = ApiKey(
            id=secret.key_id,
            digest=secret.compute_digest(self._load_digest_key()),
            tenant=body.tenant,
            created_at=self._clock.now(),
            name=body.name,
            scopes=body.scopes,
            allowed_ips=body.allowed_ips,
            allowed_models=body.allowed_models,
            expires_at=body.expires_at,
        )
        key = self._assign_usage_key(key, body.limits, stage)
        self._store.create(key)
        logger.info("key created", created_key_id=key.id, for_tenant=key.tenant)
        return key, secret

    def list(self, *, tenant: str | None = None) -> list[ApiKey]:
        return self._store.list(tenant=tenant)

    def get(self, key_id: str) -> ApiKey:
        """Raise NotFoundError for an unknown ID."""
        key = self._store.get(key_id)
        if key is None:
            raise NotFoundError("no such key")
        return key

    def update(self, key_id: str, body: UpdateKeyBody, stage: Stage) -> ApiKey:
        """Change the fields that the body sets."""
        key = self._get_active(key_id)
        changes = body.model_dump(include=body.model_fields_set - {"limits"})
        self._check_expiry(changes.get("expires_at"))
        updated = replace(key, **changes)
        if "limits" in body.model_fields_set:
            updated = self._assign_usage_key(updated, body.limits, stage)
        self._store.replace(updated, expected_digest=key.digest)
        if updated.usage_key_id != key.usage_key_id:
            self._usage_plan_keys.remove(key.usage_key_id)
        self._gateway.flush_authorizer_cache(stage)
        return updated

    def rotate(self, key_id: str, overlap: timedelta, stage: Stage) -> tuple[ApiKey, ApiKeySecret]:
        """Create a new secret under the same ID; the old one stays valid beside it for `overlap`."""
        key = self._get_active(key_id)
        rotated, secret = rotate_key(key, self._load_digest_key(), now=self._clock.now(), overlap=overlap)
        self._store.replace(rotated, expected_digest=key.digest)
        if not overlap:
            self._gateway.flush_authorizer_cache(stage)
        logger.info("key rotated", rotated_key_id=key.id, for_tenant=key.tenant)
        return rotated, secret

    def revoke(self, key_id: str, stage: Stage) -> tuple[ApiKey, datetime]:
        """Revoke a key; return it and the time from which it is certainly rejected.

        Repeating it changes nothing.
        """
        now = self._clock.now()
        key = self.get(key_id)
        if key.revoked_at is None:
            key = replace(key, revoked_at=now)
            self._store.replace(key, expected_digest=key.digest)
            logger.info("key revoked", revoked_key_id=key.id, for_tenant=key.tenant)
        self._usage_plan_keys.remove(key.usage_key_id)
        is_flushed = self._gateway.flush_authorizer_cache(stage)
        return key, now if is_flushed else now + self._authorizer_cache_ttl

    def _get_active(self, key_id: str) -> ApiKey:
        key = self.get(key_id)
        if key.revoked_at is not None:
            raise ApiError(409, "Key is revoked", "A revoked key stays revoked; create another one")
        return key

    def _check_expiry(self, expires_at: datetime | None) -> None:
        if expires_at is not None and expires_at <= self._clock.now():
            raise field_error("expires_at", "must be in the future", error_type="in_the_past")

    def _assign_usage_key(self, key: ApiKey, limits: LimitsBody | None, stage: Stage) -> ApiKey:
        usage = self._usage_plan_keys.assign(
            f"{key.tenant}-{key.id}", limits.to_limits() if limits else None, stage
        )
        return replace(key, limits=usage.limits, usage_key_id=usage.usage_key_id, usage_key=usage.usage_key)
