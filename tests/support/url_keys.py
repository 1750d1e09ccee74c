"""Keys that sign URLs of private outputs, and a check of signed URLs as CloudFront documents it."""

from __future__ import annotations

import base64
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from replicate_proxy.outputs.private_urls import PrivateUrlSigner
from tests.support.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.ports import Clock

KEY_ID = "K2JCJMDEHXQW5F"
FOLDER = "private/aa/bb/"
PRIVATE_URL = f"https://cdn.example/{FOLDER}00/out.webp"


@cache
def make_url_key(name: str = "own") -> tuple[str, str]:
    """Return a private key and its public key, as PEM; the same ones for the same name."""
    del name
    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return private.decode(), public.decode()


def make_signer(
    *,
    clock: Clock | None = None,
    key_id: str = KEY_ID,
    lifetime_seconds: int = 3600,
    read_private_key: Callable[[], str] = lambda: make_url_key()[0],
) -> PrivateUrlSigner:
    return PrivateUrlSigner(
        key_id=key_id,
        public_key=make_url_key()[1],
        read_private_key=read_private_key,
        lifetime_seconds=lifetime_seconds,
        clock=clock or FakeClock(),
    )


def verify_signed_url(signed_url: str) -> tuple[str, int]:
    """Return the URL without its signature, and when it expires in seconds since 1970.

    Raises InvalidSignature. CloudFront Developer Guide, "Create a signed URL using a canned policy": the
    policy has no white space; in the signature, which is base64, `-`, `_` and `~` stand for `+`, `=` and `/`.
    """
    url, _, query = signed_url.partition("?")
    parameters = dict(parse_qsl(query, strict_parsing=True))
    assert list(parameters) == ["Expires", "Signature", "Key-Pair-Id", "Hash-Algorithm"]
    assert (parameters["Key-Pair-Id"], parameters["Hash-Algorithm"]) == (KEY_ID, "SHA256")
    assert urlsplit(signed_url).fragment == ""
    policy = (
        '{"Statement":[{"Resource":"'
        + url
        + '","Condition":{"DateLessThan":{"AWS:EpochTime":'
        + parameters["Expires"]
        + "}}}]}"
    )
    signature = base64.b64decode(
        parameters["Signature"].replace("-", "+").replace("_", "=").replace("~", "/"), validate=True
    )
    key = serialization.load_pem_public_key(make_url_key()[1].encode())
    assert isinstance(key, ec.EllipticCurvePublicKey)
    key.verify(signature, policy.encode(), ec.ECDSA(hashes.SHA256()))
    return url, int(parameters["Expires"])
