"""Everything signed: our own tokens, and webhooks in the Standard Webhooks scheme. Pure.

Standard Webhooks (github.com/standard-webhooks/standard-webhooks, spec): the signed text is
`{id}.{timestamp}.{body}`, the key is the base64-DECODED part after `whsec_`, the header is a space-separated
list of `v1,<base64 HMAC-SHA256>`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


WEBHOOK_TOLERANCE_SECONDS = 300
_PREFIX = "whsec_"


def derive_key(root: bytes, purpose: str) -> bytes:
    """A key for one purpose from the deployment's root secret; knowing one says nothing about another."""
    return hmac.new(root, b"replicate-proxy/" + purpose.encode(), hashlib.sha256).digest()


def sign(key: bytes, *parts: str) -> str:
    """64 hex digits over the parts, each preceded by its length so that no two lists of parts sign alike."""
    text = b"".join(b"%d:%s" % (len(part.encode()), part.encode()) for part in parts)
    return hmac.new(key, text, hashlib.sha256).hexdigest()


def verify(key: bytes, signature: str, *parts: str) -> bool:
    """Whether `signature` is ours for these parts, in constant time."""
    return hmac.compare_digest(sign(key, *parts).encode(), signature.encode())


def decode_webhook_secret(secret: str) -> bytes:
    """The HMAC key inside a `whsec_…` secret (standard or URL-safe base64). Raises ValueError where there is
    none.
    """
    text = secret.removeprefix(_PREFIX).strip().replace("-", "+").replace("_", "/")
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        raise ValueError("the webhook secret is not base64") from None
    if not key:
        raise ValueError("the webhook secret is empty")
    return key


def sign_webhook(secrets: Iterable[str], message_id: str, timestamp: int, body: bytes) -> str:
    """The `webhook-signature` header: one `v1` signature for each live secret, newest first as given."""
    return " ".join(
        f"v1,{_signature(decode_webhook_secret(secret), message_id, timestamp, body)}" for secret in secrets
    )


def webhook_signature_matches(
    secrets: Iterable[str], *, message_id: str, timestamp: int, body: bytes, header: str
) -> bool:
    """Whether any signature of the header was made with any live secret. Every pair is compared, in constant
    time.
    """
    given = [part.partition(",")[2].encode() for part in header.split() if part.startswith("v1,")]
    expected = [
        _signature(decode_webhook_secret(secret), message_id, timestamp, body).encode() for secret in secrets
    ]
    return any(_compare_all(expected, given))


def _compare_all(expected: Sequence[bytes], given: Sequence[bytes]) -> list[bool]:
    return [hmac.compare_digest(ours, theirs) for ours in expected for theirs in given]


def _signature(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    text = f"{message_id}.{timestamp}.".encode() + body
    return base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()
