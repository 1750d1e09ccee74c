"""What the admin API shows. Digests and usage-key values stay inside. Pure."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from replicate_proxy.clock import iso

if TYPE_CHECKING:
    from datetime import datetime

    from replicate_proxy.auth.keys import ApiKey
    from replicate_proxy.auth.tenants import Tenant

__all__ = ["key_view", "tenant_view"]


def key_view(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "tenant": key.tenant,
        "name": key.name,
        "scopes": sorted(key.scopes),
        "created_at": iso(key.created_at),
        "expires_at": _time(key.expires_at),
        "last_used_at": _time(key.last_used_at),
        "revoked_at": _time(key.revoked_at),
        "previous_secret_until": _time(key.previous_until),
        "allowed_ips": list(key.allowed_ips),
        "allowed_models": list(key.allowed_models),
        "limits": asdict(key.limits) if key.limits else None,
    }


def tenant_view(tenant: Tenant) -> dict[str, Any]:
    return {
        "name": tenant.name,
        "display_name": tenant.display_name,
        "images": asdict(tenant.images),
        "token_limits": asdict(tenant.token_limits) if tenant.token_limits else None,
        "created_at": _time(tenant.created_at),
        "updated_at": _time(tenant.updated_at),
    }


def _time(moment: datetime | None) -> str | None:
    return iso(moment) if moment else None
