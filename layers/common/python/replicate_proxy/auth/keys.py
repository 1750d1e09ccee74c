"""IP allow-lists: single addresses and CIDR ranges, v4 and v6. Pure.

API keys: their text, what is stored of them, and whether one is good. Pure.

The caller holds `rp_<id>_<secret>`. We hold an HMAC-SHA256 of the secret under a key derived from the
deployment's root secret, so a copy of the table neither contains a key nor lets one be guessed offline.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING

from replicate_proxy import signing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from replicate_proxy.auth.principal import Scope


def normalize_ip_range(text: str) -> str:
    """The canonical CIDR form. Raises ValueError where the text is no range, or has host bits set."""
    return str(ip_network(text.strip()))


def is_ip_allowed(ranges: Iterable[str], source: str) -> bool:
    """Whether the address is in any range; an unreadable one is in none, a v4 one may come mapped in v6."""
    try:
        address = _unmapped(ip_address(source))
    except ValueError:
        return False
    return any(address in ip_network(entry) for entry in ranges)


def _unmapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


MAX_ROTATION_OVERLAP = timedelta(days=7)
_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"
_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID_LENGTH = 12
_SECRET_LENGTH = 43  # 43 base-62 digits hold 256 bits
_SHAPE = re.compile(rf"rp_([a-z2-7]{{{_ID_LENGTH}}})_([0-9A-Za-z]{{{_SECRET_LENGTH}}})", re.ASCII)


@dataclass(frozen=True)
class ApiKeySecret:
    """A key as its holder sees it. Never stored, never logged: `repr` shows the id alone."""

    key_id: str
    secret: str = field(repr=False)

    def __str__(self) -> str:
        return f"rp_{self.key_id}_{self.secret}"

    @classmethod
    def generate(cls, key_id: str | None = None) -> ApiKeySecret:
        """A new random key; with `key_id`, a new secret for an existing one."""
        return cls(key_id or _random(_BASE32, _ID_LENGTH), _random(_BASE62, _SECRET_LENGTH))

    @classmethod
    def parse(cls, text: str) -> ApiKeySecret | None:
        """The key in a credential, None where the text is not one of ours."""
        match = _SHAPE.fullmatch(text)
        return cls(match[1], match[2]) if match else None

    def digest(self, digest_key: bytes) -> str:
        """What is stored: bound to the id, so that digests cannot be moved between records."""
        return signing.sign(digest_key, self.key_id, self.secret)


def _random(alphabet: str, length: int) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(length))


@dataclass(frozen=True)
class UsageLimits:
    """What API Gateway's usage plan lets a key do: a second, at once, and a month (None: no quota)."""

    rate: float
    burst: int
    monthly_quota: int | None = None


@dataclass(frozen=True)
class ApiKey:
    """One stored key. `previous_digest` is good until `previous_until`: the grace of a rotation.

    Empty `allowed_ips` or `allowed_models` allow all. `usage_key` is the value by which API Gateway counts
    the caller.
    """

    id: str
    tenant: str
    digest: str
    created_at: datetime
    name: str = ""
    scopes: frozenset[Scope] = frozenset()
    allowed_ips: tuple[str, ...] = ()
    allowed_models: tuple[str, ...] = ()
    expires_at: datetime | None = None
    previous_digest: str | None = None
    previous_digest_expires_at: datetime | None = None
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None
    limits: UsageLimits | None = None
    usage_key_id: str | None = None
    usage_key: str | None = field(default=None, repr=False)


class KeyStatus(Enum):
    """What a presented key is worth."""

    VALID = "good"
    INVALID = "wrong"
    REVOKED = "revoked"
    EXPIRED = "expired"


_DUMMY_DIGEST = "0" * 64


def verify_key(key: ApiKey | None, presented: ApiKeySecret, digest_key: bytes, now: datetime) -> KeyStatus:
    """Judges a presented key against the record under its id; None (no such id) costs as much work."""
    given = presented.digest(digest_key)
    in_overlap = bool(
        key
        and key.previous_digest
        and key.previous_digest_expires_at
        and now < key.previous_digest_expires_at
    )
    current = secrets.compare_digest(given, key.digest if key else _DUMMY_DIGEST)
    previous = secrets.compare_digest(given, (key and key.previous_digest) or _DUMMY_DIGEST)
    if key is None or not (current or (previous and in_overlap)):
        return KeyStatus.INVALID
    if key.revoked_at is not None:
        return KeyStatus.REVOKED
    if key.expires_at is not None and now >= key.expires_at:
        return KeyStatus.EXPIRED
    return KeyStatus.VALID


def issue_key(template: ApiKey, digest_key: bytes) -> tuple[ApiKey, ApiKeySecret]:
    """A record with a fresh id and secret and everything else of the template; the text is shown once."""
    text = ApiKeySecret.generate()
    return replace(template, id=text.key_id, digest=text.digest(digest_key)), text


def rotate_key(
    key: ApiKey, digest_key: bytes, *, now: datetime, overlap: timedelta
) -> tuple[ApiKey, ApiKeySecret]:
    """The key with a new secret; the old one stays valid for `overlap` (0 to 7 days)."""
    if not timedelta() <= overlap <= MAX_ROTATION_OVERLAP:
        raise ValueError("the rotation overlap must be 0 to 7 days")
    text = ApiKeySecret.generate(key.id)
    return replace(
        key,
        digest=text.digest(digest_key),
        previous_digest=key.digest if overlap else None,
        previous_digest_expires_at=now + overlap if overlap else None,
    ), text
