"""Administration of tenants' settings."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from replicate_proxy.audit.model import AuditAction
from replicate_proxy.auth.tenants import Tenant
from replicate_proxy.clock import format_optional_timestamp
from replicate_proxy.errors import ApiError, ConflictError, UnknownNameError, field_error
from replicate_proxy.jobs.retention import format_retention, parse_retention

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from replicate_proxy.audit.log import AuditLog
    from replicate_proxy.auth.keys import UsageLimits
    from replicate_proxy.auth.ports import TenantStore
    from replicate_proxy.auth.tenants import ImageDefaults
    from replicate_proxy.operations.ports import Stage
    from replicate_proxy.operations.usage_plans import UsageAssignment, UsagePlanKeys
    from replicate_proxy.ports import Clock

_MAX_CHANGE_ATTEMPTS = 5
_NO_KEY = (
    "private_outputs needs a key that signs URLs: set the template parameter PrivateOutputsPublicKey1 and"
    " store its private key (Deploying, Private outputs)"
)


def describe_tenant(tenant: Tenant) -> dict[str, Any]:
    """Return the tenant's settings as operators see them: without its usage plan key."""
    return {
        "name": tenant.name,
        "display_name": tenant.display_name,
        "images": asdict(tenant.images),
        "private_outputs": tenant.private_outputs,
        "token_limits": asdict(tenant.token_limits) if tenant.token_limits else None,
        "retention": format_retention(tenant.retention_seconds),
        "created_at": format_optional_timestamp(tenant.created_at),
        "updated_at": format_optional_timestamp(tenant.updated_at),
        "erasing_since": format_optional_timestamp(tenant.erasing_since),
    }


class TenantService:
    """Stores tenants' settings. They are optional: a tenant without settings has the defaults."""

    def __init__(
        self,
        *,
        store: TenantStore,
        usage_plan_keys: UsagePlanKeys,
        clock: Clock,
        audit: AuditLog,
        max_retention_days: int,
        can_sign_urls: bool = False,
    ) -> None:
        """`can_sign_urls`: the deployment has a key for URLs of private outputs."""
        self._audit = audit
        self._store = store
        self._usage_plan_keys = usage_plan_keys
        self._clock = clock
        self._max_retention_days = max_retention_days
        self._can_sign_urls = can_sign_urls

    def list(self) -> list[Tenant]:
        return self._store.list()

    def get(self, name: str) -> Tenant:
        """Raise UnknownNameError for a tenant without settings."""
        tenant = self._store.get(name)
        if tenant is None:
            raise UnknownNameError(f"tenant {name} has no settings")
        return tenant

    def put(
        self,
        name: str,
        *,
        display_name: str,
        images: ImageDefaults,
        token_limits: UsageLimits | None,
        retention: str | None,
        stage: Stage,
        private_outputs: bool | None = None,
    ) -> Tenant:
        """Replace all settings of a tenant.

        Raises a 422 ApiError if the retention is none, a 409 ApiError if the tenant is being erased, and
        ConflictError if the settings keep changing meanwhile.

        A new usage key is created only if the limits changed, so that repeating a request changes nothing but
        `updated_at`. `private_outputs` stays as it is if it is None: a caller who does not know it must not
        make outputs public. Raises a 409 ApiError if it is switched on in a deployment without a key for it.
        """
        now = self._clock.now()
        retention_seconds = self._parse_retention(retention)
        usage: list[UsageAssignment] = []

        def update(current: Tenant) -> Tenant:
            updated = replace(
                current,
                display_name=display_name,
                images=images,
                retention_seconds=retention_seconds,
                private_outputs=self._check_change(current, private_outputs),
                updated_at=now,
            )
            if not usage and (current.usage_key_id is None or token_limits != current.token_limits):
                usage.append(self._usage_plan_keys.assign(f"{name}-tokens", token_limits, stage))
            return _replace_usage(updated, usage[0]) if usage else updated

        stored = self._store.get(name)
        self._check_change(stored or Tenant(name), private_outputs)
        before = describe_tenant(stored) if stored else None
        target = f"tenants/{name}"
        with self._audit.change(AuditAction.PUT_TENANT, target, tenant=name, before=before) as change:
            try:
                current, updated = change_tenant(self._store, name, update, created_at=now)
            except (ApiError, ConflictError):
                for each in usage:
                    self._usage_plan_keys.remove(each.usage_key_id)
                raise
            change.before = describe_tenant(current) if current else None
            change.after = describe_tenant(updated)
            if current is not None and updated.usage_key_id != current.usage_key_id:
                self._usage_plan_keys.remove(current.usage_key_id)
        return updated

    def _check_change(self, current: Tenant, private_outputs: bool | None) -> bool:
        """Return whether outputs will be private. Raises the 409 ApiErrors of `put`."""
        current.check_not_erasing(409)
        is_private = current.private_outputs if private_outputs is None else private_outputs
        if is_private and not current.private_outputs and not self._can_sign_urls:
            raise ApiError(409, "Private outputs are not configured", _NO_KEY)
        return is_private

    def _parse_retention(self, text: str | None) -> int | None:
        if text is None:
            return None
        try:
            return parse_retention(text, self._max_retention_days)
        except ValueError as error:
            raise field_error("retention", str(error)) from None


def change_tenant(
    store: TenantStore, name: str, change: Callable[[Tenant], Tenant], *, created_at: datetime
) -> tuple[Tenant | None, Tenant]:
    """Apply a change to the stored settings, or to those of a new tenant; return them before and after it.

    The change is applied again if another request has changed the settings meanwhile. Raises ConflictError if
    that happens too often.
    """
    for _ in range(_MAX_CHANGE_ATTEMPTS):
        stored = store.get(name)
        with suppress(ConflictError):
            return stored, store.save(change(stored or Tenant(name, created_at=created_at)))
    raise ConflictError(f"the settings of tenant {name} keep changing")


def _replace_usage(tenant: Tenant, usage: UsageAssignment) -> Tenant:
    return replace(
        tenant,
        token_limits=usage.limits,
        usage_key_id=usage.usage_key_id,
        usage_key=usage.usage_key,
    )
