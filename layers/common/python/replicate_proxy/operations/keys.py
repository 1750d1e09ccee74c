"""Administration of API keys: create, update, rotate and revoke."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from replicate_proxy.audit.model import AuditAction
from replicate_proxy.auth.keys import ApiKey, ApiKeySecret, rotate_key
from replicate_proxy.clock import format_optional_timestamp, format_timestamp
from replicate_proxy.errors import ApiError, ConflictError, UnknownNameError, field_error
from replicate_proxy.observability import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager
    from datetime import datetime, timedelta

    from replicate_proxy.api.admin.bodies import CreateKeyBody, LimitsBody, UpdateKeyBody
    from replicate_proxy.audit.log import AuditLog
    from replicate_proxy.audit.model import AuditedChange
    from replicate_proxy.auth.ports import KeyStore
    from replicate_proxy.auth.tenants import Tenant
    from replicate_proxy.operations.ports import Gateway, Stage
    from replicate_proxy.operations.usage_plans import UsagePlanKeys
    from replicate_proxy.ports import Clock

_MAX_CHANGE_ATTEMPTS = 5


def describe_key(key: ApiKey) -> dict[str, Any]:
    """Return the key as operators see it: without its digests and its usage plan key."""
    return {
        "id": key.id,
        "tenant": key.tenant,
        "name": key.name,
        "scopes": sorted(key.scopes),
        "created_at": format_timestamp(key.created_at),
        "expires_at": format_optional_timestamp(key.expires_at),
        "last_used_at": format_optional_timestamp(key.last_used_at),
        "revoked_at": format_optional_timestamp(key.revoked_at),
        "previous_secret_until": format_optional_timestamp(
            max((entry.expires_at for entry in key.previous_digests), default=None)
        ),
        "allowed_ips": list(key.allowed_ips),
        "allowed_models": list(key.allowed_models),
        "limits": asdict(key.limits) if key.limits else None,
    }


class KeyService:
    """Manages the API keys of all tenants.

    A secret is returned only by the call that creates it. A change to a key flushes the authorizer's cache in
    API Gateway, since otherwise the cached decision would apply for another `authorizer_cache_ttl`.
    `find_budget(tenant, key ID)` reads whether the key or its tenant has a budget, `find_tenant` the settings
    of a tenant.
    """

    def __init__(  # noqa: PLR0913 - stores, API Gateway, and what keys depend on
        self,
        *,
        store: KeyStore,
        gateway: Gateway,
        usage_plan_keys: UsagePlanKeys,
        load_digest_key: Callable[[], bytes],
        clock: Clock,
        authorizer_cache_ttl: timedelta,
        audit: AuditLog,
        find_budget: Callable[[str, str], bool] = lambda _tenant, _key_id: False,
        find_tenant: Callable[[str], Tenant | None] = lambda _tenant: None,
    ) -> None:
        self._store = store
        self._gateway = gateway
        self._usage_plan_keys = usage_plan_keys
        self._load_digest_key = load_digest_key
        self._clock = clock
        self._authorizer_cache_ttl = authorizer_cache_ttl
        self._audit = audit
        self._find_budget = find_budget
        self._find_tenant = find_tenant

    def create(self, body: CreateKeyBody, stage: Stage) -> tuple[ApiKey, ApiKeySecret]:
        """Return the key and its secret. Raises a 409 ApiError if the tenant is being erased."""
        self._check_expiry(body.expires_at)
        tenant = self._find_tenant(body.tenant)
        if tenant is not None:
            tenant.check_not_erasing(409)
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
        with self._audit.change(AuditAction.CREATE_KEY, f"keys/{key.id}", tenant=key.tenant) as change:
            key = replace(key, **self._assign_usage_key(key.tenant, key.id, body.limits, stage))
            self._store.create(key)
            # After the key is stored, or a budget that is set meanwhile would not find the key.
            if self._find_budget(key.tenant, key.id):
                _, key = change_key(self._store, key.id, self._mark_budget)
            change.after = describe_key(key)
        logger.info("key created", created_key_id=key.id, for_tenant=key.tenant)
        return key, secret

    def list(self, *, tenant: str | None = None) -> list[ApiKey]:
        return self._store.list(tenant=tenant)

    def get(self, key_id: str) -> ApiKey:
        """Raise UnknownNameError for an unknown ID."""
        return _get_key(self._store, key_id)

    def update(self, key_id: str, body: UpdateKeyBody, stage: Stage) -> ApiKey:
        """Change the fields that the body sets. Raises ConflictError if the key keeps changing meanwhile."""
        changes = body.model_dump(include=body.model_fields_set - {"limits"})
        self._check_expiry(changes.get("expires_at"))
        key = _require_active(self.get(key_id))
        with self._audit_change(AuditAction.UPDATE_KEY, key) as audited:
            usage: dict[str, Any] = {}
            if "limits" in body.model_fields_set:
                usage = self._assign_usage_key(key.tenant, key.id, body.limits, stage)
            try:
                key, updated = change_key(
                    self._store, key_id, lambda current: replace(_require_active(current), **changes, **usage)
                )
            except (ApiError, ConflictError):
                self._usage_plan_keys.remove(usage.get("usage_key_id"))
                raise
            audited.before, audited.after = describe_key(key), describe_key(updated)
            if updated.usage_key_id != key.usage_key_id:
                self._usage_plan_keys.remove(key.usage_key_id)
            self._gateway.flush_authorizer_cache(stage)
        return updated

    def rotate(self, key_id: str, overlap: timedelta, stage: Stage) -> tuple[ApiKey, ApiKeySecret]:
        """Create a new secret under the same ID; the old ones stay valid beside it for `overlap`.

        Raises a 409 ApiError if the key is revoked or too many old ones are valid.
        """
        digest_key = self._load_digest_key()
        secrets: list[ApiKeySecret] = []

        def rotate(key: ApiKey) -> ApiKey:
            rotated, secret = rotate_key(
                _require_active(key), digest_key, now=self._clock.now(), overlap=overlap
            )
            secrets.append(secret)
            return rotated

        parameters = {"overlap_seconds": int(overlap.total_seconds())}
        with self._audit_change(AuditAction.ROTATE_KEY, self.get(key_id), parameters) as audited:
            key, rotated = change_key(self._store, key_id, rotate)
            audited.before, audited.after = describe_key(key), describe_key(rotated)
            if not overlap:
                self._gateway.flush_authorizer_cache(stage)
        logger.info("key rotated", rotated_key_id=rotated.id, for_tenant=rotated.tenant)
        return rotated, secrets[-1]

    def revoke(self, key_id: str, stage: Stage) -> tuple[ApiKey, datetime]:
        """Revoke a key; return it and the time from which it is certainly rejected.

        Repeating it changes nothing.
        """
        now = self._clock.now()
        key = self.get(key_id)
        with self._audit_change(AuditAction.REVOKE_KEY, key) as audited:
            if key.revoked_at is None:
                before, key = change_key(
                    self._store,
                    key_id,
                    lambda current: replace(current, revoked_at=current.revoked_at or now),
                )
                audited.before = describe_key(before)
                logger.info("key revoked", revoked_key_id=key.id, for_tenant=key.tenant)
            audited.after = describe_key(key)
            self._usage_plan_keys.remove(key.usage_key_id)
            is_flushed = self._gateway.flush_authorizer_cache(stage)
        return key, now if is_flushed else now + self._authorizer_cache_ttl

    def mark_budgets(self, key_ids: Iterable[str], stage: Stage) -> None:
        """Record in the keys whether they or their tenants have a budget, after one was set or deleted."""
        for key_id in key_ids:
            change_key(self._store, key_id, self._mark_budget)
        self._gateway.flush_authorizer_cache(stage)

    def _audit_change(
        self, action: AuditAction, key: ApiKey, parameters: Any = None
    ) -> AbstractContextManager[AuditedChange]:
        """Record a change of the key, which replaces `before` by what it finds when it is made."""
        return self._audit.change(
            action, f"keys/{key.id}", tenant=key.tenant, parameters=parameters, before=describe_key(key)
        )

    def _mark_budget(self, key: ApiKey) -> ApiKey:
        return replace(key, has_budget=self._find_budget(key.tenant, key.id))

    def _check_expiry(self, expires_at: datetime | None) -> None:
        if expires_at is not None and expires_at <= self._clock.now():
            raise field_error("expires_at", "must be in the future", error_type="in_the_past")

    def _assign_usage_key(
        self, tenant: str, key_id: str, limits: LimitsBody | None, stage: Stage
    ) -> dict[str, Any]:
        """Create a usage key; return the fields of the API key that hold it."""
        usage = self._usage_plan_keys.assign(
            f"{tenant}-{key_id}", limits.to_limits() if limits else None, stage
        )
        return asdict(usage) | {"limits": usage.limits}


def change_key(store: KeyStore, key_id: str, change: Callable[[ApiKey], ApiKey]) -> tuple[ApiKey, ApiKey]:
    """Apply a change to the stored key; return the key before and after it.

    The change is applied again if another request has changed the key meanwhile. Raises ConflictError if that
    happens too often, and UnknownNameError for an unknown ID.
    """
    for _ in range(_MAX_CHANGE_ATTEMPTS - 1):
        key = _get_key(store, key_id)
        with suppress(ConflictError):
            return key, store.save(change(key))
    key = _get_key(store, key_id)
    return key, store.save(change(key))


def _get_key(store: KeyStore, key_id: str) -> ApiKey:
    key = store.get(key_id)
    if key is None:
        raise UnknownNameError("no key has this ID, which is the part between the underscores of rp_<id>_…")
    return key


def _require_active(key: ApiKey) -> ApiKey:
    """Return the key. Raises a 409 ApiError if it is revoked."""
    if key.revoked_at is not None:
        raise ApiError(409, "Key is revoked", "A revoked key stays revoked; create another one")
    return key
