"""Signing secrets of the Standard Webhooks scheme: making, rotating, and which are live. Pure.

Source: Standard Webhooks specification, "Signature scheme" (24 to 64 random bytes, base64, prefix `whsec_`)
and "Secret rotation" (sign with the old and the new one for a while).

A tenant's registered endpoint: where its events go, which ones, and under which secrets. Pure.
"""

from __future__ import annotations

import base64
import secrets as random
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from replicate_proxy.clock import format_timestamp, parse_optional_timestamp, parse_timestamp
from replicate_proxy.ids import generate_id
from replicate_proxy.webhooks.model import EventKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


MAX_ROTATION_OVERLAP = timedelta(days=7)
_BYTES = 32
_MOST = 10


@dataclass(frozen=True, slots=True)
class SigningSecret:
    """`text` is `whsec_…` in standard base64: Replicate's Python validator splits the text at `_`."""

    text: str = field(repr=False)
    created_at: datetime
    expires_at: datetime | None = None


def generate_signing_secret(now: datetime) -> SigningSecret:
    """A new secret of 32 random bytes."""
    return SigningSecret("whsec_" + base64.b64encode(random.token_bytes(_BYTES)).decode(), now)


def live_secrets(secrets: Sequence[SigningSecret], now: datetime) -> tuple[str, ...]:
    """The texts to sign with, newest first."""
    return tuple(secret.text for secret in secrets if secret.expires_at is None or now < secret.expires_at)


def rotate_secrets(
    secrets: Sequence[SigningSecret], *, now: datetime, grace: timedelta
) -> tuple[SigningSecret, ...]:
    """A fresh secret, then those that live on for `grace` (0 to 7 days), none beyond its earlier end."""
    if not timedelta() <= grace <= MAX_ROTATION_OVERLAP:
        raise ValueError("the grace is 0 to 7 days")
    until = now + grace
    kept = [
        replace(secret, expires_at=min(until, secret.expires_at or until))
        for secret in secrets
        if secret.expires_at is None or now < secret.expires_at
    ]
    return (generate_signing_secret(now), *(kept[: _MOST - 1] if grace else ()))


def secrets_to_records(secrets: Sequence[SigningSecret]) -> list[dict[str, Any]]:
    """As stored. These two are all that sees secrets at rest: envelope encryption would go here."""
    return [
        {
            "text": secret.text,
            "created_at": format_timestamp(secret.created_at),
            **({"expires_at": format_timestamp(secret.expires_at)} if secret.expires_at else {}),
        }
        for secret in secrets
    ]


def secrets_from_records(records: Sequence[Mapping[str, Any]]) -> tuple[SigningSecret, ...]:
    """The inverse of `to_records`."""
    return tuple(
        SigningSecret(
            text=record["text"],
            created_at=parse_timestamp(record["created_at"]),
            expires_at=parse_optional_timestamp(record.get("expires_at")),
        )
        for record in records
    )


SUBSCRIBABLE = (EventKind.START, EventKind.OUTPUT, EventKind.LOGS, EventKind.COMPLETED)


class DisabledReason(StrEnum):
    """Who or what switched an endpoint off."""

    BY_OWNER = "by_owner"
    GONE = "gone"
    ASKED = "asked_by_receiver"
    FAILING = "failing_too_long"
    TOO_MANY_FAILURES = "too_many_failures_in_a_row"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """`events` empty means all; `secrets` newest first; `rev` guards every write."""

    tenant: str
    id: str
    url: str
    secrets: tuple[SigningSecret, ...]
    created_at: datetime
    updated_at: datetime
    events: tuple[EventKind, ...] = ()
    description: str = ""
    disabled_reason: DisabledReason | None = None
    disabled_at: datetime | None = None
    rev: int = 0

    @property
    def is_enabled(self) -> bool:
        return self.disabled_reason is None

    def wants(self, kind: EventKind) -> bool:
        return kind is EventKind.TEST or not self.events or kind in self.events


def new_endpoint_id(now: datetime) -> str:
    """`ep_` and 26 characters that sort by time."""
    return f"ep_{generate_id(now)}"
