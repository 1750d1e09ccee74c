"""Signing secrets of the Standard Webhooks scheme: making, rotating, and which are live. Pure.

Source: Standard Webhooks specification, "Signature scheme" (24 to 64 random bytes, base64, prefix `whsec_`)
and "Secret rotation" (sign with the old and the new one for a while).
"""

from __future__ import annotations

import base64
import secrets as random
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from replicate_proxy.clock import iso, parse

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["MAX_GRACE", "SigningSecret", "fresh", "from_records", "live", "rotated", "to_records"]

MAX_GRACE = timedelta(days=7)
_BYTES = 32
_MOST = 10


@dataclass(frozen=True, slots=True)
class SigningSecret:
    """`text` is `whsec_…` in standard base64: Replicate's Python validator splits the text at `_`."""

    text: str = field(repr=False)
    created_at: datetime
    expires_at: datetime | None = None


def fresh(now: datetime) -> SigningSecret:
    """A new secret of 32 random bytes."""
    return SigningSecret("whsec_" + base64.b64encode(random.token_bytes(_BYTES)).decode(), now)


def live(secrets: Sequence[SigningSecret], now: datetime) -> tuple[str, ...]:
    """The texts to sign with, newest first."""
    return tuple(secret.text for secret in secrets if secret.expires_at is None or now < secret.expires_at)


def rotated(
    secrets: Sequence[SigningSecret], *, now: datetime, grace: timedelta
) -> tuple[SigningSecret, ...]:
    """A fresh secret, then those that live on for `grace` (0 to 7 days), none beyond its earlier end."""
    if not timedelta() <= grace <= MAX_GRACE:
        raise ValueError("the grace is 0 to 7 days")
    until = now + grace
    kept = [
        replace(secret, expires_at=min(until, secret.expires_at or until))
        for secret in secrets
        if secret.expires_at is None or now < secret.expires_at
    ]
    return (fresh(now), *(kept[: _MOST - 1] if grace else ()))


def to_records(secrets: Sequence[SigningSecret]) -> list[dict[str, Any]]:
    """As stored. These two are all that sees secrets at rest: envelope encryption would go here."""
    return [
        {
            "text": secret.text,
            "created_at": iso(secret.created_at),
            **({"expires_at": iso(secret.expires_at)} if secret.expires_at else {}),
        }
        for secret in secrets
    ]


def from_records(records: Sequence[Mapping[str, Any]]) -> tuple[SigningSecret, ...]:
    """The inverse of `to_records`."""
    return tuple(
        SigningSecret(
            text=record["text"],
            created_at=parse(record["created_at"]),
            expires_at=parse(record["expires_at"]) if record.get("expires_at") else None,
        )
        for record in records
    )
