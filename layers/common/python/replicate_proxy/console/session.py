"""Sessions of the console: signed cookies, and the tokens of their forms. No I/O.

A session holds no secret. It names the API key that signed in, and by a `proof` which of the key's secrets
did: a rotation that ends the validity of that secret ends the session, too.
"""

from __future__ import annotations

import base64
import json
import secrets
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from replicate_proxy import signing

if TYPE_CHECKING:
    from datetime import datetime

    from replicate_proxy.auth.keys import ApiKey

SESSION_LIFETIME = timedelta(hours=12)
VIEW_LIFETIME = timedelta(minutes=15)
"""How long a tenant's view that an operator's link has opened lasts."""

_MAX_COOKIE_CHARACTERS = 2000
_PROOF_DIGITS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """`expires_at` is in epoch seconds. With `tenant`, the session reads the pages of this tenant only."""

    id: str
    key_id: str
    proof: str
    expires_at: int
    tenant: str | None = None

    @classmethod
    def start(
        cls, key_id: str, proof: str, *, now: datetime, lifetime: timedelta, tenant: str | None = None
    ) -> Session:
        expires_at = int((now + lifetime).timestamp())
        return cls(id=secrets.token_hex(16), key_id=key_id, proof=proof, expires_at=expires_at, tenant=tenant)

    def encode(self, signing_key: bytes) -> str:
        """Return the session as the text of a cookie."""
        content = base64.urlsafe_b64encode(json.dumps(asdict(self)).encode()).decode().rstrip("=")
        return f"{content}.{signing.sign(signing_key, 'session', content)}"

    def build_csrf_token(self, signing_key: bytes) -> str:
        """Return what each form of the session must send, and what no other page can know."""
        return signing.sign(signing_key, "form", self.id)

    def is_csrf_token(self, signing_key: bytes, token: str) -> bool:
        return signing.verify(signing_key, token, "form", self.id)


def decode_session(text: str, signing_key: bytes, now: datetime) -> Session | None:
    """Return the session of a cookie; None if we did not sign it, or it has expired."""
    content, _, signature = text.partition(".")
    if len(text) > _MAX_COOKIE_CHARACTERS or not text.isascii():
        return None
    if not signing.verify(signing_key, signature, "session", content):
        return None
    session = Session(**json.loads(base64.urlsafe_b64decode(content + "=" * (-len(content) % 4))))
    return session if now.timestamp() < session.expires_at else None


def build_proof(signing_key: bytes, digest: str) -> str:
    """Return what identifies a secret of a key, without revealing the digest that we store of it."""
    return signing.sign(signing_key, "secret", digest)[:_PROOF_DIGITS]


def has_valid_secret(key: ApiKey, proof: str, signing_key: bytes, now: datetime) -> bool:
    """Return whether the secret with this proof is still one of the key's."""
    digests = [key.digest, *(entry.digest for entry in key.previous_digests if now < entry.expires_at)]
    return any(
        secrets.compare_digest(build_proof(signing_key, digest).encode(), proof.encode())
        for digest in digests
    )
