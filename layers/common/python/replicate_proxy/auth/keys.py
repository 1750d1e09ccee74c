"""API keys: the secret that the caller holds, the record that we store, verification and rotation.

The caller holds `rp_<id>_<secret>`. We store an HMAC-SHA256 of the secret, computed with a key derived from
the deployment's root secret. A copy of the table therefore neither contains a usable key nor allows guessing
one offline.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING

from replicate_proxy import signing
from replicate_proxy.errors import too_many_secrets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicate_proxy.auth.principal import Scope


MAX_ROTATION_OVERLAP = timedelta(days=7)
MAX_PREVIOUS_DIGESTS = 10
_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"
_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID_LENGTH = 12
_SECRET_LENGTH = 43  # 43 base-62 digits hold 256 bits
_KEY_PATTERN = re.compile(rf"rp_([a-z2-7]{{{_ID_LENGTH}}})_([0-9A-Za-z]{{{_SECRET_LENGTH}}})", re.ASCII)
# Stands in for a digest that does not exist, so that the comparison always takes the same time.
_DUMMY_DIGEST = "0" * 64


@dataclass(frozen=True)
class ApiKeySecret:
    """The full text of a key, as its holder sees it. It is never stored; `repr` shows only the ID."""

    key_id: str
    secret: str = field(repr=False)

    def __str__(self) -> str:
        return f"rp_{self.key_id}_{self.secret}"

    @classmethod
    def generate(cls, key_id: str | None = None) -> ApiKeySecret:
        """Generate a new key, or with `key_id` a new secret for an existing key."""
        return cls(key_id or _generate_text(_BASE32, _ID_LENGTH), _generate_text(_BASE62, _SECRET_LENGTH))

    @classmethod
    def parse(cls, credential: str) -> ApiKeySecret | None:
        """Parse a credential; return None if it does not have the form of an API key."""
        match = _KEY_PATTERN.fullmatch(credential)
        return cls(match[1], match[2]) if match else None

    def compute_digest(self, digest_key: bytes) -> str:
        """Return the digest to store. It covers the ID, so that it is worthless in another key's record."""
        return signing.sign(digest_key, self.key_id, self.secret)


def _generate_text(alphabet: str, length: int) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(length))


@dataclass(frozen=True)
class UsageLimits:
    """Limits of an API Gateway usage plan: requests per second, burst, and requests per month.

    `monthly_quota` is None if the month is unlimited.
    """

    rate: float
    burst: int
    monthly_quota: int | None = None


@dataclass(frozen=True, slots=True)
class PreviousDigest:
    """The digest of a secret that a rotation has replaced, valid until `expires_at`."""

    digest: str
    expires_at: datetime


@dataclass(frozen=True)
class ApiKey:
    """The stored record of a key.

    During a rotation overlap the previous secrets are valid too: `previous_digests`, newest first. Empty
    `allowed_ips` and `allowed_models` allow everything. `usage_key` is the value by which API Gateway counts
    the caller's requests, `usage_key_id` is API Gateway's ID of it. `has_budget` says whether the key or its
    tenant has a budget. `revision` grows by one with each change and guards it.
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
    previous_digests: tuple[PreviousDigest, ...] = ()
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None
    limits: UsageLimits | None = None
    usage_key_id: str | None = None
    usage_key: str | None = field(default=None, repr=False)
    has_budget: bool = False
    revision: int = 0

    def get_status(self, now: datetime) -> KeyStatus:
        """Return whether its secrets are accepted: VALID, or else REVOKED or EXPIRED."""
        if self.revoked_at is not None:
            return KeyStatus.REVOKED
        if self.expires_at is not None and now >= self.expires_at:
            return KeyStatus.EXPIRED
        return KeyStatus.VALID


class KeyStatus(Enum):
    """The result of verifying a secret."""

    VALID = "valid"
    INVALID = "invalid"  # unknown ID or wrong secret
    REVOKED = "revoked"
    EXPIRED = "expired"


def verify_key(key: ApiKey | None, secret: ApiKeySecret, digest_key: bytes, now: datetime) -> KeyStatus:
    """Verify a secret against the record that is stored under its ID, None if there is no such record.

    An unknown ID costs as much time as a wrong secret, so that response times do not reveal which IDs exist.
    """
    digest = secret.compute_digest(digest_key)
    is_current = secrets.compare_digest(digest, key.digest if key else _DUMMY_DIGEST)
    is_previous = _matches_previous(key.previous_digests if key else (), digest, now)
    if key is None or not (is_current or is_previous):
        return KeyStatus.INVALID
    return key.get_status(now)


def _matches_previous(previous: Sequence[PreviousDigest], digest: str, now: datetime) -> bool:
    """Return whether the digest is one of the previous ones that are still valid; compare as many always."""
    valid = [entry.digest for entry in previous if now < entry.expires_at]
    candidates = [*valid, *[_DUMMY_DIGEST] * (MAX_PREVIOUS_DIGESTS - len(valid))]
    return sum(secrets.compare_digest(digest, candidate) for candidate in candidates) > 0


def rotate_key(
    key: ApiKey, digest_key: bytes, *, now: datetime, overlap: timedelta
) -> tuple[ApiKey, ApiKeySecret]:
    """Return the key with a new secret, and that secret. The ID stays the same.

    The earlier secrets stay valid for `overlap`, which is 0 to 7 days, but none longer than it already was.
    So a rotation that is repeated, because its response was lost, does not invalidate the secret in use.
    Without an overlap all of them become invalid at once.

    Raises a 409 ApiError if `MAX_PREVIOUS_DIGESTS` earlier secrets are valid already: one of them, perhaps
    that in use, would become invalid before its overlap ends.
    """
    if not timedelta() <= overlap <= MAX_ROTATION_OVERLAP:
        raise ValueError("the rotation overlap must be 0 to 7 days")
    secret = ApiKeySecret.generate(key.id)
    overlap_end = now + overlap
    earlier = [
        PreviousDigest(entry.digest, min(entry.expires_at, overlap_end))
        for entry in key.previous_digests
        if now < entry.expires_at
    ]
    previous = (PreviousDigest(key.digest, overlap_end), *earlier) if overlap else ()
    if len(previous) > MAX_PREVIOUS_DIGESTS:
        raise too_many_secrets(MAX_PREVIOUS_DIGESTS)
    return replace(key, digest=secret.compute_digest(digest_key), previous_digests=previous), secret
