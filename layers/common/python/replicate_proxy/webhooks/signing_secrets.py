"""Signing secrets of the Standard Webhooks scheme: generation, rotation and storage format. No I/O.

Source: Standard Webhooks specification, "Signature scheme" (24 to 64 random bytes in base64 with the prefix
`whsec_`) and "Secret rotation" (sign with the old and the new secret during an overlap).
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from secrets import token_bytes
from typing import TYPE_CHECKING, Any

from replicate_proxy.clock import format_timestamp, parse_timestamp
from replicate_proxy.errors import too_many_secrets

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


MAX_ROTATION_OVERLAP = timedelta(days=7)
_SECRET_BYTES = 32
# With the current one: a request carries a signature with each of them.
MAX_SECRETS = 10


@dataclass(frozen=True, slots=True)
class SigningSecret:
    """A secret and its lifetime; `expires_at` is None for the current secret.

    `text` is `whsec_` plus standard base64. URL-safe base64 would break Replicate's Python validator, which
    splits the text at `_`.
    """

    text: str = field(repr=False)
    created_at: datetime
    expires_at: datetime | None = None

    def is_live(self, now: datetime) -> bool:
        return self.expires_at is None or now < self.expires_at


def generate_signing_secret(now: datetime) -> SigningSecret:
    """Return a new secret of 32 random bytes."""
    return SigningSecret("whsec_" + base64.b64encode(token_bytes(_SECRET_BYTES)).decode(), now)


def select_live_secrets(secrets: Sequence[SigningSecret], now: datetime) -> tuple[str, ...]:
    """Return the texts of the secrets to sign with, in the given order (newest first)."""
    return tuple(secret.text for secret in secrets if secret.is_live(now))


def rotate_secrets(
    secrets: Sequence[SigningSecret], *, now: datetime, overlap: timedelta
) -> tuple[SigningSecret, ...]:
    """Return a new secret followed by the live ones, which expire after `overlap` at the latest.

    Raises ValueError unless `overlap` is between 0 and 7 days, and a 409 ApiError if `MAX_SECRETS` are live:
    one that receivers may use would stop signing before its overlap ends.
    """
    if not timedelta() <= overlap <= MAX_ROTATION_OVERLAP:
        raise ValueError("the rotation overlap must be 0 to 7 days")
    overlap_end = now + overlap
    expiring = [
        replace(secret, expires_at=min(overlap_end, secret.expires_at or overlap_end))
        for secret in secrets
        if secret.is_live(now)
    ]
    if overlap and len(expiring) >= MAX_SECRETS:
        raise too_many_secrets(MAX_SECRETS - 1)
    return (generate_signing_secret(now), *(expiring if overlap else ()))


def secrets_to_records(secrets: Sequence[SigningSecret]) -> list[dict[str, Any]]:
    """Return the secrets as the table stores them.

    Only this function and its inverse see stored secrets: envelope encryption would go here.
    """
    return [
        {
            "text": secret.text,
            "created_at": format_timestamp(secret.created_at),
            **({"expires_at": format_timestamp(secret.expires_at)} if secret.expires_at else {}),
        }
        for secret in secrets
    ]


def secrets_from_records(records: Sequence[Mapping[str, Any]]) -> tuple[SigningSecret, ...]:
    """Return the secrets stored by `secrets_to_records`."""
    return tuple(
        SigningSecret(
            text=record["text"],
            created_at=parse_timestamp(record["created_at"]),
            expires_at=parse_timestamp(record["expires_at"]) if record.get("expires_at") else None,
        )
        for record in records
    )
