"""API keys as items of the access table. Pure.

All keys share one partition: a look-up is one GetItem by id, the list one Query. `expires_at` is the table's
TTL attribute, so the end of a key's life is called `valid_until` here; only revoked keys get a TTL.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from replicate_proxy.auth.keys import ApiKey, Limits
from replicate_proxy.auth.scopes import known_scopes
from replicate_proxy.clock import iso, parse

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "PARTITION",
    "item_key",
    "key_from_record",
    "limits_from_record",
    "record_from_key",
    "record_from_limits",
]

PARTITION = "KEYS"
_KEEP_REVOKED = timedelta(days=90)  # for whoever reads the list after an incident


def item_key(key_id: str) -> dict[str, str]:
    return {"pk": PARTITION, "sk": f"KEY#{key_id}"}


def record_from_key(key: ApiKey) -> dict[str, Any]:
    return {
        **item_key(key.id),
        "id": key.id,
        "tenant": key.tenant,
        "digest": key.digest,
        "created_at": iso(key.created_at),
        "name": key.name,
        "scopes": sorted(key.scopes),
        "allowed_ips": list(key.allowed_ips),
        "allowed_models": list(key.allowed_models),
        "valid_until": _text(key.expires_at),
        "previous_digest": key.previous_digest,
        "previous_until": _text(key.previous_until),
        "last_used_at": _text(key.last_used_at),
        "revoked_at": _text(key.revoked_at),
        "limits": record_from_limits(key.limits),
        "usage_key_id": key.usage_key_id,
        "usage_key": key.usage_key,
        "expires_at": int((key.revoked_at + _KEEP_REVOKED).timestamp()) if key.revoked_at else None,
    }


def key_from_record(record: Mapping[str, Any]) -> ApiKey:
    return ApiKey(
        id=record["id"],
        tenant=record["tenant"],
        digest=record["digest"],
        created_at=parse(record["created_at"]),
        name=record["name"],
        scopes=known_scopes(record["scopes"]),
        allowed_ips=tuple(record["allowed_ips"]),
        allowed_models=tuple(record["allowed_models"]),
        expires_at=_time(record.get("valid_until")),
        previous_digest=record.get("previous_digest"),
        previous_until=_time(record.get("previous_until")),
        last_used_at=_time(record.get("last_used_at")),
        revoked_at=_time(record.get("revoked_at")),
        limits=limits_from_record(record.get("limits")),
        usage_key_id=record.get("usage_key_id"),
        usage_key=record.get("usage_key"),
    )


def record_from_limits(limits: Limits | None) -> dict[str, Any] | None:
    if limits is None:
        return None
    # As text: DynamoDB has no binary floats, and half a request a second is a sensible rate.
    return {"rate": str(limits.rate), "burst": limits.burst, "monthly_quota": limits.monthly_quota}


def limits_from_record(record: Mapping[str, Any] | None) -> Limits | None:
    return Limits(float(record["rate"]), record["burst"], record["monthly_quota"]) if record else None


def _text(moment: datetime | None) -> str | None:
    return iso(moment) if moment else None


def _time(text: str | None) -> datetime | None:
    return parse(text) if text else None
