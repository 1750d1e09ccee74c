"""HMAC signatures: of our API keys and URLs, and of webhooks in the Standard Webhooks scheme.

Standard Webhooks (github.com/standard-webhooks/standard-webhooks, spec): the signed text is
`{id}.{timestamp}.{body}`, the key is the base64-decoded part after `whsec_`, the header is a space-separated
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
    """Derive the key for one purpose from the deployment's root secret; no key reveals another."""
    return hmac.new(root, b"replicate-proxy/" + purpose.encode(), hashlib.sha256).digest()


def sign(key: bytes, *parts: str) -> str:
    """Return the HMAC-SHA256 of the parts, as 64 hex digits.

    It covers their lengths, so that two lists of parts with the same concatenation have different signatures.
    """
    text = b"".join(b"%d:%s" % (len(part.encode()), part.encode()) for part in parts)
    return hmac.new(key, text, hashlib.sha256).hexdigest()


def verify(key: bytes, signature: str, *parts: str) -> bool:
    """Return whether `sign` made the signature from these parts. Takes constant time."""
    return hmac.compare_digest(sign(key, *parts).encode(), signature.encode())


def sign_webhook(secrets: Iterable[str], message_id: str, timestamp: int, body: bytes) -> str:
    """Return the `webhook-signature` header: one `v1` signature per secret, in the given order."""
    keys = [decode_webhook_secret(secret) for secret in secrets]
    return " ".join(f"v1,{_sign_message(key, message_id, timestamp, body)}" for key in keys)


def webhook_signature_matches(
    secrets: Iterable[str], *, message_id: str, timestamp: int, body: bytes, header: str
) -> bool:
    """Return whether any signature in the header matches any secret. Compares all pairs in constant time."""
    received = [part.partition(",")[2].encode() for part in header.split() if part.startswith("v1,")]
    keys = [decode_webhook_secret(secret) for secret in secrets]
    expected = [_sign_message(key, message_id, timestamp, body).encode() for key in keys]
    return any(_compare_all(expected, received))


def decode_webhook_secret(secret: str) -> bytes:
    """Return the HMAC key of a `whsec_…` secret (standard or URL-safe base64), or raise ValueError."""
    text = secret.removeprefix(_PREFIX).strip().replace("-", "+").replace("_", "/")
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        raise ValueError("the webhook secret is not base64") from None
    if not key:
        raise ValueError("the webhook secret is empty")
    return key


def _compare_all(expected: Sequence[bytes], received: Sequence[bytes]) -> list[bool]:
    return [hmac.compare_digest(one, other) for one in expected for other in received]


def _sign_message(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    text = f"{message_id}.{timestamp}.".encode() + body
    return base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()
