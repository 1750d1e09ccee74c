"""Verify signed URLs as CloudFront does for behaviors with trusted key groups.

CloudFront Developer Guide, "Create a signed URL using a canned policy": the policy is rebuilt from the URL
and `Expires`, so a change of either makes the signature wrong. The stack signs no other policies, and with
SHA-256; other URLs are refused.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from datetime import datetime

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

_ACCESS_DENIED = ("AccessDenied", "Access denied")
_PARAMETERS = frozenset({"Expires", "Signature", "Key-Pair-Id", "Hash-Algorithm"})


def find_refusal(
    url: str, query: Mapping[str, str], public_keys: Mapping[str, str], now: datetime
) -> tuple[str, str] | None:
    """Return code and message of CloudFront's error, or None if the URL may be served.

    `url` is without its query; `public_keys` are PEM by key ID.
    """
    if "Key-Pair-Id" not in query:
        return "MissingKey", "Missing Key-Pair-Id query parameter or cookie value"
    public_key = public_keys.get(query["Key-Pair-Id"])
    if public_key is None:
        return "InvalidKey", "Unknown Key"
    if query.keys() != _PARAMETERS or query["Hash-Algorithm"] != "SHA256":
        return _ACCESS_DENIED
    if not query["Expires"].isascii() or not query["Expires"].isdecimal():
        return _ACCESS_DENIED
    expires = int(query["Expires"])
    condition = {"DateLessThan": {"AWS:EpochTime": expires}}
    policy = json.dumps({"Statement": [{"Resource": url, "Condition": condition}]}, separators=(",", ":"))
    if not _is_valid(policy, query["Signature"], public_key) or expires <= now.timestamp():
        return _ACCESS_DENIED
    return None


def build_error_body(code: str, message: str) -> str:
    """Return the body of CloudFront's 403."""
    error = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return f'<?xml version="1.0" encoding="UTF-8"?>{error}'


def _is_valid(policy: str, signature: str, public_key: str) -> bool:
    key = serialization.load_pem_public_key(public_key.encode())
    if not isinstance(key, ec.EllipticCurvePublicKey):
        return False
    try:
        decoded = base64.b64decode(signature.translate(str.maketrans("-_~", "+=/")), validate=True)
        key.verify(decoded, policy.encode(), ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True
